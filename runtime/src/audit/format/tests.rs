//! The forms that other programs read, held against what their standards ask for.

use rift_models::artifact::{
    Accuracy, AttackResult, AuditReport, AuditRequest, Digest, ModelIdentity, Reading,
    RuntimeIdentity, Threat,
};
use rift_models::threat::Norm;
use serde_json::{Value, json};

use super::{EntryError, Threshold, junit, robustbench, sarif};
use crate::attack::method::Method;

/// A report of 100 images, 80 right as they are and 40 under attack.
pub(crate) fn report() -> AuditReport {
    let (clean, robust) = (Accuracy::new(80, 100), Accuracy::new(40, 100));
    let attack = AttackResult {
        name: "apgd-ce".to_owned(),
        eps: None,
        settings: Value::Null,
        attacked: 80,
        broken: 40,
        unreached: 0,
        robust,
        seconds: Some(1.5),
        gradients: 8000,
        forwards: 100,
    };
    AuditReport {
        format: AuditReport::FORMAT,
        clean_accuracy: clean.fraction,
        robust_accuracy: robust.fraction,
        n: 100,
        split: "test".to_owned(),
        interval: robust.interval,
        clean_interval: clean.interval,
        threat: Threat { norm: Norm::Linf, eps: "8/255".parse().unwrap() },
        curve: Vec::new(),
        attacks: vec![attack],
        samples: Vec::new(),
        model: ModelIdentity {
            path: "models/my net & <co>.onnx".to_owned(),
            digest: Digest::of_bytes(b"model"),
            data: Digest::of_bytes(b"data"),
            checkpoint: None,
        },
        twin: None,
        runtime: RuntimeIdentity {
            program: "rift-runtime 0.1.0".to_owned(),
            onnxruntime: "1.31.1".to_owned(),
            provider: "CPUExecutionProvider".to_owned(),
            library: None,
            steering: None,
            instruction_set: Vec::new(),
            seed: 3,
        },
        request: Some(AuditRequest {
            data: "/data/cifar-10-batches-bin".to_owned(),
            limit: None,
            eps: vec!["8/255".parse().unwrap()],
            attacks: serde_json::to_value(Method::autoattack()).unwrap(),
            early_stop: true,
            reading: Reading::default(),
            gradients_from: None,
            smoothing: None,
        }),
        shard: None,
        certified: None,
        corruptions: None,
        warnings: vec![
            "steps-do-not-help: 9 of 24 images <are> \"stuck\"".to_owned(),
            "model: a bare file: nothing vouches for it".to_owned(),
        ],
    }
}

const MISSED: Threshold = Threshold {
    what: "lower bound of the robust accuracy",
    found: 0.309,
    least: 0.4,
    unreached: 0,
};

/// What a `sarifLog` must have by the standard's schema, and what GitHub's code scanning asks beside.
fn holds_to_sarif(log: &Value) {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    for run in log["runs"].as_array().unwrap() {
        let driver = &run["tool"]["driver"];
        assert!(!driver["name"].as_str().unwrap().is_empty());
        let rules = driver["rules"].as_array().unwrap();
        for rule in rules {
            assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string());
            let level = rule["defaultConfiguration"]["level"].as_str().unwrap();
            assert!(["none", "note", "warning", "error"].contains(&level));
        }
        for result in run["results"].as_array().unwrap() {
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            let level = result["level"].as_str().unwrap();
            assert!(["none", "note", "warning", "error"].contains(&level));
            let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], result["ruleId"]);
            assert!(!result["locations"].as_array().unwrap().is_empty());
            for location in result["locations"].as_array().unwrap() {
                let place = &location["physicalLocation"];
                let uri = place["artifactLocation"]["uri"].as_str().unwrap();
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "%-._~/:".contains(c);
                assert!(uri.chars().all(is_plain), "{uri}");
                let index = place["artifactLocation"]["index"].as_u64().unwrap() as usize;
                assert_eq!(run["artifacts"][index]["location"]["uri"], uri);
                assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
            }
        }
    }
}

#[test]
fn sarif_has_what_the_standard_asks_for() {
    let report = report();
    let log = sarif(&report, Some(&MISSED));
    holds_to_sarif(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let found: Vec<(&str, &str)> = results
        .iter()
        .map(|r| (r["ruleId"].as_str().unwrap(), r["level"].as_str().unwrap()))
        .collect();
    assert_eq!(
        found,
        [("min-robust-accuracy", "error"), ("steps-do-not-help", "warning"), ("model", "note")]
    );
    let text = results[1]["message"]["text"].as_str().unwrap();
    assert_eq!(text, "9 of 24 images <are> \"stuck\"");
    let uri = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "models/my%20net%20%26%20%3Cco%3E.onnx");
    let met = Threshold { least: 0.3, ..MISSED };
    for threshold in [None, Some(&met)] {
        let log = sarif(&report, threshold);
        holds_to_sarif(&log);
        assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), 2);
    }
}

/// The elements of an XML text, after a look at whether they are nested and quoted as they must be.
fn elements(xml: &str) -> Vec<String> {
    let body = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").unwrap();
    let (mut open, mut found) = (Vec::new(), Vec::new());
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a loose `>` in {:?}", &rest[..at]);
        let end = rest[at..].find('>').unwrap() + at;
        let tag = &rest[at + 1..end];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else {
            found.push(tag.to_owned());
            if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap().to_owned());
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    found
}

#[test]
fn junit_counts_its_cases() {
    let report = report();
    let met = Threshold { least: 0.3, ..MISSED };
    for (threshold, failures, skipped) in [(Some(&MISSED), 2, 0), (Some(&met), 1, 0), (None, 1, 1)]
    {
        let text = junit(&report, threshold);
        let elements = elements(&text);
        let count = |name: &str| {
            elements.iter().filter(|tag| tag.split([' ', '/']).next() == Some(name)).count()
        };
        assert_eq!((count("failure"), count("skipped")), (failures, skipped), "{text}");
        let suite = elements.iter().find(|tag| tag.starts_with("testsuite ")).unwrap();
        for (name, value) in
            [("tests", count("testcase")), ("failures", failures), ("skipped", skipped)]
        {
            assert!(suite.contains(&format!(" {name}=\"{value}\"")), "{suite}");
        }
        assert!(suite.contains("my net &amp; &lt;co&gt;.onnx"), "{suite}");
    }
    let text = junit(&report, Some(&MISSED));
    assert!(text.contains("0.3090, at least 0.4"), "{text}");
    assert!(text.contains("9 of 24 images &lt;are&gt; &quot;stuck&quot;</failure>"), "{text}");
    assert!(text.contains("a bare file: nothing vouches for it</system-out>"), "{text}");
}

#[test]
fn no_form_lets_an_audit_pass_that_did_not_come_to_its_end() {
    let late = Threshold { least: 0.3, unreached: 7, ..MISSED };
    assert!(!late.is_below() && !late.is_met());
    let text = junit(&report(), Some(&late));
    assert!(text.contains("name=\"min-robust-accuracy\"><failure "), "{text}");
    assert!(text.contains("not reached: 7"), "{text}");
    let log = sarif(&report(), Some(&late));
    holds_to_sarif(&log);
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "min-robust-accuracy");
    assert!(Threshold { unreached: 0, ..late }.is_met());
}

#[test]
fn an_entry_has_the_leaderboards_fields() {
    let report = report();
    let entry = robustbench(&report).unwrap();
    // Those of `model_info/cifar10/Linf/*.json`.
    let fields = [
        "additional_data",
        "architecture",
        "authors",
        "autoattack_acc",
        "clean_acc",
        "dataset",
        "eps",
        "footnote",
        "link",
        "name",
        "number_forward_passes",
        "reported",
        "unreliable",
        "venue",
    ];
    let mut found: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, fields);
    assert_eq!(entry["dataset"], "cifar10");
    assert_eq!(
        [&entry["eps"], &entry["clean_acc"], &entry["autoattack_acc"], &entry["unreliable"]],
        [&json!("8/255"), &json!("80.00"), &json!("40.00"), &json!(true)]
    );
    assert!(entry["footnote"].as_str().unwrap().contains("linf, 100 images of the test split"));
    let trusted = AuditReport { warnings: report.warnings[1..].to_vec(), ..report.clone() };
    assert_eq!(robustbench(&trusted).unwrap()["unreliable"], false);
    let mut late = report;
    late.attacks[0].unreached = 1;
    assert!(matches!(robustbench(&late), Err(EntryError::Unreached)));
}
