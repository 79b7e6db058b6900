//! `rift-exporter verify` as a process.

use rift_models::artifact::{Bundle, Digest, Probe, read_json};
use rift_models::onnx::{Model, tensor};
use serde_json::Value;

use crate::fixture::{Finished, Run, program, rewrite, tamper};

pub(crate) fn verdicts(run: &Run, expected: i32) -> Vec<(String, bool)> {
    let done = run.rift(&["verify", "bundle", "--json", "verify.json"]);
    assert_eq!(done.code, expected, "{done:?}");
    let report: Value = read_json(&run.path("verify.json"), "report").unwrap();
    assert_eq!(report["holds"], expected == 0);
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        let name = check["name"].as_str().unwrap();
        assert!(done.stdout.contains(name), "{name}: {done:?}");
    }
    let verdict = |check: &Value| {
        (check["name"].as_str().unwrap().to_owned(), check["holds"].as_bool().unwrap())
    };
    checks.iter().map(verdict).collect()
}

pub(crate) fn failing(run: &Run) -> Vec<String> {
    verdicts(run, 1).into_iter().filter(|(_, holds)| !holds).map(|(name, _)| name).collect()
}

/// Adds 1 to the first bias of the model in the bundle; returns the new file's digest.
fn change_weight(run: &Run) -> Digest {
    let path = run.path("bundle/model.onnx");
    let mut proto = Model::read(&path).unwrap().into_proto();
    let graph = proto.graph.as_mut().unwrap();
    let bias = graph.initializer.iter_mut().find(|t| t.name() == "linear.bias").unwrap();
    let mut values = tensor::load::<f32>(bias).unwrap();
    values[[0].as_slice()] += 1.0;
    *bias = tensor::store("linear.bias", &values);
    Model::from_proto(proto).unwrap().write(&path).unwrap()
}

#[test]
fn an_exported_bundle_holds() {
    let run = Run::new();
    run.exported();
    let verdicts = verdicts(&run, 0);
    assert_eq!(verdicts.len(), 11);
    assert!(verdicts.iter().all(|(_, holds)| *holds));
    let report: Value = read_json(&run.path("verify.json"), "report").unwrap();
    assert_eq!(report["parity"]["n"], 5);
    assert!(report["parity"]["max_abs_difference"].as_f64().unwrap() < 1e-5);
}

#[test]
fn a_tampered_weight_does_not_hold() {
    let run = Run::new();
    run.exported();
    let digest = change_weight(&run);
    assert_eq!(failing(&run), ["model digest", "parity"]);
    // Whoever also rewrites the card is caught by the logits and by what stands beside the card; who
    // rewrites that too by the logits alone.
    let bundle = run.path("bundle");
    tamper(&bundle, |card| card.model = digest);
    assert_eq!(failing(&run), ["parity", "card digest", "bill of materials", "page"]);
    std::fs::remove_file(run.path("bundle/bom.cdx.json")).unwrap();
    assert_eq!(failing(&run), ["parity", "bill of materials", "page"]);
    rewrite(&bundle, |_| {});
    assert_eq!(failing(&run), ["parity"]);
    let wide = run.rift(&["verify", "bundle", "--tolerance", "1.5"]);
    assert_eq!(wide.code, 0, "{wide:?}");
    let close = run.rift(&["verify", "bundle", "--tolerance", "0.5"]);
    assert!(close.code == 1 && close.stdout.contains("worst: image "), "{close:?}");
}

#[test]
fn a_card_that_says_something_else_does_not_hold() {
    let run = Run::new();
    run.exported();
    let bundle = run.path("bundle");
    tamper(&bundle, |card| {
        card.classes.swap(0, 1);
        card.threat = None;
        card.opset = 18;
        card.checkpoint = Digest::of_bytes(b"another");
    });
    let names =
        ["operator set", "model's checkpoint", "classes", "threat model", "probe's checkpoint"];
    let beside = ["card digest", "bill of materials", "page"];
    assert_eq!(failing(&run), [&names[..], &beside].concat());
    // What the model does not say of itself stands in the bill of materials and on the page.
    run.exported();
    tamper(&bundle, |card| card.name = "another".to_owned());
    assert_eq!(failing(&run), beside);
    std::fs::write(run.path("bundle/bom.cdx.json"), "{").unwrap();
    run.rift(&["verify", "bundle"]).fails(2, &["is not a valid bill of materials"]);
}

#[test]
fn a_changed_probe_does_not_hold() {
    let run = Run::new();
    run.exported();
    let mut probe = run.probe.clone();
    probe.images[[0, 0, 0, 0]] = 0.5;
    Probe { ..probe }.write(&run.path("bundle/probe.safetensors")).unwrap();
    assert_eq!(failing(&run), ["probe digest", "parity"]);
}

#[test]
fn what_is_no_bundle_is_an_error() {
    let run = Run::new();
    run.exported();
    let verify = |parts: &[&str]| run.rift(&["verify", "bundle"]).fails(2, parts);
    run.rift(&["verify", "nowhere"]).fails(2, &["`nowhere` is not a bundle", "`card.json`"]);
    let card = run.path("bundle/card.json");
    let good = std::fs::read_to_string(&card).unwrap();
    std::fs::write(&card, &good[..good.len() / 2]).unwrap();
    verify(&["is not a valid card"]);
    std::fs::write(&card, good.replace("\"format\": 1", "\"format\": 7")).unwrap();
    verify(&["has card format 7"]);
    std::fs::write(&card, &good).unwrap();
    // A model that is none, though the card agrees with it.
    std::fs::write(run.path("bundle/model.onnx"), b"not a model").unwrap();
    tamper(&run.path("bundle"), |card| card.model = Digest::of_bytes(b"not a model"));
    verify(&["is not a usable ONNX model"]);
    std::fs::remove_file(run.path("bundle").join(Bundle::PROBE)).unwrap();
    verify(&["it has no `probe.safetensors`"]);
}

#[test]
fn variables_for_other_commands_are_no_error() {
    let run = Run::new();
    run.exported();
    let mut command = program(&run.path(""));
    command.args(["verify", "bundle"]).env("RIFT_TWIN", "elsewhere").env("RIFT_IMAGES", "3");
    let done = Finished::of(&mut command);
    assert_eq!(done.code, 0, "{done:?}");
    // What stands on the command line is meant.
    run.rift(&["verify", "bundle", "--twin", "bundle"]).fails(2, &["is not quantised"]);
    run.rift(&["verify", "bundle", "--images", "3"]).fails(2, &["`--data <PATH>`"]);
}
