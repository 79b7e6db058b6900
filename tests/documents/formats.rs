//! `docs/formats.md` names every key that the schemas have.

use rift_models::artifact::read_json;
use rift_tests::document::{Page, root};
use serde_json::Value;

/// The properties of a schema.
fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// The keys of a report, and those one level further down, in its lists and objects.
fn keys(schema: &Value) -> Vec<&str> {
    let mut keys = Vec::new();
    for (key, value) in properties(schema) {
        keys.push(key.as_str());
        let below = properties(value).chain(properties(&value["items"]));
        keys.extend(below.map(|(key, _)| key.as_str()));
    }
    keys
}

#[test]
fn every_key_of_a_report_is_told() {
    let page = Page::read("docs/formats.md");
    for name in ["audit", "card", "mrc", "rift", "sweep"] {
        let path = root().join(format!("docs/schema/{name}.schema.json"));
        let schema: Value = read_json(&path, "schema").unwrap();
        let heading = format!("\n## {name}.json\n");
        let (_, section) = page.text.split_once(&heading).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let keys = keys(&schema);
        assert!(keys.len() > 7, "{keys:?}");
        for key in keys {
            let is_told = section.contains(&format!("`{key}`"));
            assert!(is_told, "docs/formats.md does not name `{key}` of {name}.json");
        }
    }
}
