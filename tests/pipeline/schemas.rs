//! Reports against their published schemas.

use std::path::Path;

use jsonschema::Validator;
use rift_models::artifact::{AuditReport, MrcReport, SweepReport, read_json};
use rift_tests::Program;
use rift_tests::document::root;
use rift_tests::images::TINY;
use rift_tests::program::finish;
use rift_tests::small::training;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reports in `folder` that have, between them, nearly all that reports can have.
fn make(folder: &Path) {
    let run = folder.join("run");
    let checkpoint = run.join("at.safetensors");
    let _ = finish(&mut training(&run, 1)).success();
    let small = ["--data", TINY, "--steps", "1"];
    let mut command = Program::Trainer.command(["mrc", "--limit", "40", "--halves"]);
    let command = command.args(small).arg("--checkpoint").arg(&checkpoint);
    let _ = finish(command.arg("--out").arg(folder.join("mrc.json"))).success();
    let mut command = Program::Trainer.command(["rift", "--limit", "40", "--mrc-limit", "40"]);
    command.args(["--epochs", "1", "--alphas", "0,1", "--corruptions", "fog", "--severity", "1"]);
    command.args(small).arg("--checkpoint").arg(&checkpoint);
    let _ = finish(command.arg("--out").arg(folder)).success();
    let bundle = folder.join("bundle");
    let mut command = Program::Exporter.command(["export", "--checkpoint"]);
    command.arg(folder.join("rift.safetensors")).arg("--out").arg(&bundle);
    let _ = finish(&mut command).success();
    let audit = |name: &str, arguments: &[&str]| {
        let mut command = Program::Runtime.command(["audit"]);
        command.arg(&bundle).args(small).args(arguments);
        let _ = finish(command.arg("--json").arg(folder.join(name))).success();
    };
    let all = "--limit 3 --eps 4/255,8/255 --size 12 --corruptions fog --severity 1 \
        --certify smoothing --sigma 0.25 --smoothing-samples 4,10";
    let mut all: Vec<&str> = all.split_whitespace().collect();
    let twin = bundle.display().to_string();
    all.extend(["--gradients-from", &twin]);
    audit("audit.json", &all);
    audit("part.json", &["--limit", "4", "--shard", "1/2", "--no-timing"]);
}

fn schema(name: &str) -> Validator {
    let path = root().join(format!("docs/schema/{name}.schema.json"));
    jsonschema::validator_for(&read_json::<Value>(&path, "schema").unwrap()).unwrap()
}

/// The report of this file, which the schema accepts.
fn valid(schema: &Validator, file: &Path) -> Value {
    let report: Value = read_json(file, "report").unwrap();
    let errors: Vec<String> =
        schema.iter_errors(&report).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    report
}

/// The paths of everything in `value`, as JSON pointers.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let mut all = vec![at.to_owned()];
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        // The first of a list stands for the others.
        Value::Array(list) => list.iter().take(1).map(|value| ("0".to_owned(), value)).collect(),
        _ => Vec::new(),
    };
    all.extend(inside.iter().flat_map(|(key, value)| pointers(value, &format!("{at}/{key}"))));
    all
}

/// `report` with something taken out, added or put in another's place at `pointer`.
fn damaged(report: &Value, pointer: &str) -> Vec<Value> {
    let mut all = Vec::new();
    if let Some((parent, name)) = pointer.rsplit_once('/') {
        let mut report = report.clone();
        if let Some(Value::Object(map)) = report.pointer_mut(parent) {
            map.remove(name);
            all.push(report);
        }
    }
    let mut added = report.clone();
    if let Some(Value::Object(map)) = added.pointer_mut(pointer) {
        map.insert("surprise".to_owned(), json!(1));
        all.push(added);
    }
    for other in [json!(null), json!(true), json!("x"), json!(-1), json!(1.5), json!([]), json!({})]
    {
        let mut replaced = report.clone();
        *replaced.pointer_mut(pointer).unwrap() = other;
        all.push(replaced);
    }
    all
}

/// Whatever is done to a report, the schema accepts nothing that programs refuse.
fn is_no_wider<T: DeserializeOwned>(schema: &Validator, report: &Value) {
    let mut refused = 0;
    for pointer in pointers(report, "") {
        for damaged in damaged(report, &pointer) {
            let accepted = schema.is_valid(&damaged);
            let read = serde_json::from_value::<T>(damaged.clone());
            assert!(!accepted || read.is_ok(), "`{pointer}`: {:?}", read.err());
            refused += usize::from(!accepted);
        }
    }
    assert!(refused > 100, "the schema refused {refused} damaged reports only");
}

#[test]
fn reports_are_as_their_schemas_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    make(folder.path());
    let mrc = schema("mrc");
    is_no_wider::<MrcReport>(&mrc, &valid(&mrc, &path("mrc.json")));
    let sweep = schema("sweep");
    is_no_wider::<SweepReport>(&sweep, &valid(&sweep, &path("sweep.json")));
    let audit = schema("audit");
    is_no_wider::<AuditReport>(&audit, &valid(&audit, &path("audit.json")));
    assert!(valid(&audit, &path("part.json"))["shard"].is_object());
    // What reads `rift.json` is the trainer's own: here it is enough that nothing may be missing.
    let rift = schema("rift");
    let report = valid(&rift, &path("rift.json"));
    assert!(report["result"]["corruptions"].is_object());
    for key in report.as_object().unwrap().keys() {
        let mut report = report.clone();
        report.as_object_mut().unwrap().remove(key);
        assert!(!rift.is_valid(&report), "without `{key}`");
    }
}
