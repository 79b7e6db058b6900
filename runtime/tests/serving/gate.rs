//! The audit gate: what does not withstand the attack is not served.

use std::fs::File;
use std::time::Duration;

use ndarray::Array1;
use ndarray_npy::NpzWriter;
use rift_models::artifact::AuditReport;
use rift_runtime::attack::oracle::prediction;
use rift_runtime::session::{Classifier, Pool, SessionOptions};
use serde_json::Value;

use super::Serving;
use super::protocol::{INFER, request};
use crate::small_models::{bundle, conv_net, images, linear_net};
use crate::{DATA, Place, report};

const DATA_OF_GATE: [&str; 4] = ["--audit-data", DATA, "--audit-limit", "24"];

/// The gate for an attack of four small steps.
fn gate(minimum: f64) -> String {
    format!("pgd,eps=2/255,steps=4,min={minimum}")
}

/// The same attack by the command `audit`.
fn audited(place: &Place) -> AuditReport {
    let attack = ["audit", "m.onnx", "--data", DATA, "--limit", "24", "--eps", "2/255"];
    let ended = place.run(&[&attack[..], &["--steps", "4", "--json", "audit.json"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.err);
    report(&place.path("audit.json"))
}

#[test]
fn the_gate_finds_what_an_audit_finds() {
    let place = Place::with(&linear_net());
    let expected = audited(&place);
    let serving = Serving::of(&place, &[&["--audit-gate", &gate(0.0)][..], &DATA_OF_GATE].concat());
    let found: AuditReport = serde_json::from_value(serving.get("/v1/audit/m")).unwrap();
    assert_eq!(found.samples, expected.samples);
    assert_eq!(found.model.digest, expected.model.digest);
    let list = serving.get("/v1/audit");
    assert_eq!(list["minimum"], 0.0);
    let line = &list["audits"][0];
    assert_eq!(
        (&line["model_name"], &line["passed"], &line["n"]),
        (&"m".into(), &true.into(), &24.into())
    );
    let labels = "{model=\"m\",version=\"1\"";
    let threat = ",attack=\"pgd\",eps=\"2/255\",norm=\"linf\"";
    let robust = serving.metric(&format!("rift_audit_robust_accuracy{labels}{threat}}}"));
    assert_eq!(robust, expected.robust_accuracy);
    assert_eq!(
        serving.metric(&format!("rift_audit_clean_accuracy{labels}}}")),
        expected.clean_accuracy
    );
    assert_eq!(serving.metric(&format!("rift_audit_passed{labels}}}")), 1.0);
    assert!(serving.metric(&format!("rift_audit_age_seconds{labels}}}")) < 3600.0);
    assert_eq!(serving.client().get("/v1/audit/other").status, 404);
}

/// Waits until the server knows that it will not be ready, and why.
fn refused(serving: &Serving) -> String {
    loop {
        let reply = serving.client().get("/v2/health/ready");
        assert_eq!(reply.status, 503);
        let reason = reply.error();
        if !reason.contains("being loaded") {
            return reason;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_model_that_fails_is_never_served() {
    let place = Place::with(&conv_net(None));
    bundle(place.folder.path(), &conv_net(None));
    // Black or white everywhere: no classifier of these withstands that.
    let serving = Serving::start(&place, &["m=bundle", "--audit-gate", "pgd,eps=1,steps=20,min=1"]);
    let reason = refused(&serving);
    for part in ["audit gate: robust accuracy", "(pgd linf 1, n 2) is below 100 %"] {
        assert!(reason.contains(part), "{reason}");
    }
    let reply = serving.client().post(INFER, &request(|_| ()));
    assert_eq!(reply.status, 503);
    assert!(reply.error().contains("audit gate"), "{}", reply.error());
    assert_eq!(serving.get("/v1/audit")["audits"][0]["passed"], false);
    assert_eq!(serving.metric("rift_audit_passed"), 0.0);
    assert_eq!(serving.end("-TERM"), 0);
}

/// Images with the classes that the model in `place` gives them: nobody knows them better.
fn own_answers(place: &Place) {
    let images = images(16);
    let classifier = Classifier::open(&place.path("m.onnx")).unwrap();
    let mut pool = Pool::new(&classifier, &SessionOptions { threads: 1, batch: 16 }, 16).unwrap();
    let logits = pool.logits(&images.view()).unwrap();
    let classes: Array1<i64> =
        logits.rows().into_iter().map(|row| prediction(&row) as i64).collect();
    let mut npz = NpzWriter::new(File::create(place.path("own.npz")).unwrap());
    npz.add_array("x", &images).unwrap();
    npz.add_array("y", &classes).unwrap();
    npz.finish().unwrap();
}

#[test]
fn a_new_version_that_fails_leaves_the_old_one_serving() {
    let place = Place::with(&conv_net(None));
    own_answers(&place);
    let gate = "pgd,eps=0.0001,steps=1,min=0.9";
    let data = ["--audit-data", "own.npz", "--audit-limit", "16"];
    let serving = Serving::of(&place, &[&["--audit-gate", gate][..], &data].concat());
    let mut client = serving.client();
    let before: Value = client.post(INFER, &request(|_| ())).json();
    linear_net().write(&place.path("m.onnx")).unwrap();
    let reply = client.post("/v2/repository/models/m/load", b"");
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("audit gate: robust accuracy"), "{}", reply.error());
    assert_eq!(client.post(INFER, &request(|_| ())).json(), before);
    assert_eq!(client.get("/v2/health/ready").status, 200);
}

#[test]
fn the_audit_is_repeated_with_other_draws() {
    let place = Place::with(&linear_net());
    let gate = gate(0.0);
    let arguments = ["--audit-gate", gate.as_str(), "--audit-every", "0.05s"];
    let serving = Serving::of(&place, &[&arguments[..], &DATA_OF_GATE].concat());
    let seed = || serving.get("/v1/audit/m")["runtime"]["seed"].as_u64().unwrap();
    while seed() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(serving.end("-TERM"), 0);
}

#[test]
fn what_is_no_gate_is_said_at_once() {
    let place = Place::with(&linear_net());
    for (arguments, part) in [
        (vec!["--audit-gate", "pgd"], "min=0.45"),
        (vec!["--audit-data", DATA], "--audit-gate"),
        (vec!["--audit-gate", "pgd,min=0.5", "--audit-data", "nowhere"], "nowhere"),
        (vec!["--audit-gate", "pgd,min=0.5", "--audit-every", "5"], "`30m`"),
    ] {
        let error = place.fails(&[&["serve", "m.onnx"][..], &arguments].concat());
        assert!(error.contains(part), "{error}");
    }
    // A bare file brings no images.
    let serving = Serving::start(&place, &["m.onnx", "--audit-gate", "pgd,min=0.5"]);
    assert!(refused(&serving).contains("`--audit-data`"));
}
