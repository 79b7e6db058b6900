//! Cards against their published schema, bills of materials against CycloneDX's.

use std::path::Path;

use jsonschema::Validator;
use rift_models::artifact::Card;
use serde_json::{Value, json};

use crate::fixture::Run;
use crate::quantize::{quantize, with_data};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn card_schema() -> Validator {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/card.schema.json");
    jsonschema::validator_for(&read(Path::new(path))).unwrap()
}

fn bom_schema() -> Validator {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schema"));
    let document = |name: &str| read(&folder.join(format!("{name}.schema.json")));
    let mut registry = jsonschema::Registry::new();
    for name in ["spdx", "jsf-0.82", "cryptography-defs"] {
        let address = format!("http://cyclonedx.org/schema/{name}.schema.json");
        let resource = jsonschema::Resource::from_contents(document(name));
        registry = registry.add(address, resource).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let options = jsonschema::options().with_registry(&registry).should_validate_formats(true);
    options.build(&document("bom-1.7")).unwrap()
}

fn assert_valid(schema: &Validator, path: &Path) -> Value {
    let value = read(path);
    let errors: Vec<String> =
        schema.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    value
}

/// A quantised, optimised bundle `small` and its float twin `bundle`: between them, all that a card
/// can say.
fn bundles() -> Run {
    let run = with_data();
    let done = quantize(&run, &["--max-drop", "100", "--optimize", "portable"]);
    assert_eq!(done.code, 0, "{done:?}");
    run
}

/// The paths of everything in `value`, as JSON pointers.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, &format!("{at}/{key}"), all);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                pointers(value, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

fn without(card: &Value, pointer: &str) -> Value {
    let mut card = card.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match card.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.remove(name)),
        Value::Array(list) => drop(list.remove(name.parse().unwrap())),
        _ => unreachable!(),
    }
    card
}

/// Whatever is taken out of a card, added to it or put in another's place: the schema accepts
/// nothing that the program refuses, and refuses little that it accepts.
#[test]
fn the_schema_of_cards_is_that_of_the_program() {
    let run = bundles();
    let schema = card_schema();
    assert_valid(&schema, &run.path("bundle/card.json"));
    let card = assert_valid(&schema, &run.path("small/card.json"));
    let reads = |card: &Value| serde_json::from_value::<Card>(card.clone()).is_ok();
    let mut all = Vec::new();
    pointers(&card, "", &mut all);
    assert!(all.len() > 150, "{}", all.len());
    let mut stricter = Vec::new();
    for pointer in &all {
        let mut changed = Vec::new();
        if !pointer.is_empty() {
            changed.push(without(&card, pointer));
        }
        let mut added = card.clone();
        if let Value::Object(map) = added.pointer_mut(pointer).unwrap() {
            map.insert("surprise".to_owned(), json!(1));
            changed.push(added);
        }
        for changed in changed {
            match (reads(&changed), schema.is_valid(&changed)) {
                (false, true) => panic!("the schema accepts `{pointer}` changed"),
                (true, false) => stricter.push(pointer.as_str()),
                _ => {}
            }
        }
        for other in
            [json!(null), json!(true), json!("x"), json!(-1), json!(1.5), json!([]), json!({})]
        {
            let mut replaced = card.clone();
            *replaced.pointer_mut(pointer).unwrap() = other.clone();
            let both = (reads(&replaced), schema.is_valid(&replaced));
            assert!(both != (false, true), "the schema accepts {other} for `{pointer}`");
        }
    }
    assert_eq!(stricter, ["/metrics/1/attack"], "a robust accuracy needs its attack");
}

#[test]
fn wrong_cards_are_refused() {
    let run = bundles();
    let schema = card_schema();
    let card = read(&run.path("small/card.json"));
    for (pointer, wrong) in [
        ("/format", json!(2)),
        ("/model", json!("sha256:ABC")),
        ("/classes", json!([])),
        ("/opset", json!(0)),
        ("/threat/norm", json!("l1")),
        ("/threat/eps", json!("eight")),
        ("/metrics/0/accuracy/fraction", json!(1.2)),
        ("/metrics/0/name", json!("robust")),
        ("/metrics/0/split", json!("tset")),
        ("/parity/tolerance", json!(-1e-4)),
        ("/quantization/weights", json!("int4")),
        ("/quantization/calibration/method", json!("guess")),
        ("/optimized/reach", json!("far")),
        ("/lineage/parents/model", json!("none")),
    ] {
        let mut card = card.clone();
        *card.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&card), "{pointer}");
    }
}

#[test]
fn bills_of_materials_are_cyclonedx() {
    let run = bundles();
    let schema = bom_schema();
    let float = assert_valid(&schema, &run.path("bundle/bom.cdx.json"));
    let bom = assert_valid(&schema, &run.path("small/bom.cdx.json"));
    assert_ne!(float["serialNumber"], bom["serialNumber"]);
    let card: Card = serde_json::from_value(read(&run.path("small/card.json"))).unwrap();
    let model = &bom["metadata"]["component"];
    assert_eq!(model["type"], "machine-learning-model");
    assert_eq!(model["hashes"][0]["content"], card.model.hex());
    let metrics =
        model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"].as_array().unwrap();
    assert_eq!(metrics[1]["type"], "robust accuracy, pgd-2 linf 8/255");
    let n = card.metrics[1].accuracy.n;
    assert_eq!(metrics[1]["slice"], format!("validation split, {n} images"));
    // Back to the float model, the checkpoint and the images.
    let twin = &model["pedigree"]["ancestors"][0];
    assert_eq!(twin["hashes"][0]["content"], card.quantization.unwrap().twin.hex());
    let checkpoint = &twin["pedigree"]["ancestors"][0];
    assert_eq!(checkpoint["hashes"][0]["content"], card.checkpoint.hex());
    let components = bom["components"].as_array().unwrap();
    let of_type = |kind: &str| components.iter().filter(|c| c["type"] == kind).count();
    assert_eq!([of_type("file"), of_type("data"), of_type("machine-learning-model")], [2, 2, 1]);
    // The schema is no sieve.
    for (pointer, wrong) in [
        ("/specVersion", json!(1.7)),
        ("/serialNumber", json!("urn:uuid:1")),
        ("/components/0/type", json!("thing")),
        ("/metadata/component/hashes/0/content", json!("abc")),
    ] {
        let mut bom = bom.clone();
        *bom.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&bom), "{pointer}");
    }
}
