//! The audit gate: what does not withstand the attack is not served.

use std::fs::{self, File};
use std::time::Duration;

use ndarray::Array1;
use ndarray_npy::NpzWriter;
use rift_models::artifact::AuditReport;
use rift_models::onnx::Model;
use rift_models::threat::AttackSpec;
use rift_runtime::attack::oracle::prediction;
use rift_runtime::session::{Classifier, Pool, SessionOptions};
use serde_json::Value;

use super::Serving;
use super::protocol::{INFER, request};
use crate::small_models::{bundle, bundle_of, conv_net, images, linear_net};
use crate::{DATA, Place, report};

const DATA_OF_GATE: [&str; 4] = ["--audit-data", DATA, "--audit-limit", "24"];

/// The gate for an attack of four small steps.
fn gate(minimum: f64) -> String {
    format!("pgd,eps=2/255,steps=4,images=24,min={minimum}")
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
    let serving =
        Serving::start(&place, &["m=bundle", "--audit-gate", "pgd,eps=1,steps=20,images=2,min=1"]);
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

/// Says in the card of the bundle in `place` what its network was trained for.
fn claim(place: &Place, threat: &Value) {
    let path = place.path("bundle/card.json");
    let mut card: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    card["threat"] = threat.clone();
    fs::write(path, serde_json::to_vec(&card).unwrap()).unwrap();
}

#[test]
fn a_card_has_no_say_in_how_its_model_is_judged() {
    let place = Place::with(&conv_net(None));
    bundle_of(place.folder.path(), &conv_net(None), 30);
    for (norm, gate, found) in [
        ("l2", "pgd,eps=1,steps=20,min=1", "(pgd linf 1, n 30)"),
        ("linf", "pgd,steps=5,min=1", "(pgd linf 8/255, n 30)"),
        ("linf", "pgd,norm=l2,steps=5,min=1", "(pgd l2 128/255, n 30)"),
    ] {
        let trained = AttackSpec { eps: "0.0001/255".parse().unwrap(), ..AttackSpec::paper() };
        let mut threat = serde_json::to_value(trained).unwrap();
        threat["norm"] = norm.into();
        claim(&place, &threat);
        let serving = Serving::start(&place, &["m=bundle", "--audit-gate", gate]);
        let reason = refused(&serving);
        assert!(reason.contains(found), "{reason}");
    }
}

#[test]
fn a_probe_of_few_images_lets_nothing_pass() {
    let place = Place::with(&conv_net(None));
    bundle_of(place.folder.path(), &conv_net(None), 1);
    let serving = Serving::start(&place, &["m=bundle", "--audit-gate", "pgd,steps=1,min=0"]);
    let reason = refused(&serving);
    assert!(reason.contains("there are 1 images to audit on, expected at least 30"), "{reason}");
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
    let gate = "pgd,eps=0.0001,steps=1,images=16,min=0.9";
    let data = ["--audit-data", "own.npz", "--audit-limit", "16"];
    let serving = Serving::of(&place, &[&["--audit-gate", gate][..], &data].concat());
    let mut client = serving.client();
    let before: Value = client.post(INFER, &request(|_| ())).json();
    let audit = serving.get("/v1/audit/m");
    linear_net().write(&place.path("m.onnx")).unwrap();
    let reply = client.post("/v2/repository/models/m/load", b"");
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("audit gate: robust accuracy"), "{}", reply.error());
    assert_eq!(client.post(INFER, &request(|_| ())).json(), before);
    assert_eq!(client.get("/v2/health/ready").status, 200);
    // So do its audit and the series, until nothing is served.
    assert_eq!(serving.get("/v1/audit/m"), audit);
    assert_eq!(serving.metric("rift_audit_passed"), 1.0);
    assert_eq!(client.post("/v2/repository/models/m/unload", b"").status, 200);
    assert_eq!(client.get("/v1/audit/m").status, 404);
}

#[test]
fn the_audit_of_a_refused_version_stands_beside_that_of_the_one_served() {
    let place = Place::with(&conv_net(None));
    own_answers(&place);
    let put = |version: u64, model: Model| {
        let folder = place.path(&format!("repository/m/{version}"));
        fs::create_dir_all(&folder).unwrap();
        model.write(&folder.join("model.onnx")).unwrap();
    };
    put(1, conv_net(None));
    let gate = ["--audit-gate", "pgd,eps=0.0001,steps=1,images=16,min=0.9"];
    let data = ["--audit-data", "own.npz", "--audit-limit", "16"];
    let repository = ["--repository", "repository", "--repository-poll", "0"];
    let serving = Serving::start(&place, &[&repository[..], &gate, &data].concat());
    serving.until_ready();
    let audit = serving.get("/v1/audit/m");
    put(2, linear_net());
    let load = || serving.client().post("/v2/repository/models/m/load", b"").status;
    assert_eq!(load(), 400);
    let lines = || -> Vec<(Value, Value, Value)> {
        let list = serving.get("/v1/audit");
        let of = |line: &Value| {
            (line["model_version"].clone(), line["served"].clone(), line["passed"].clone())
        };
        list["audits"].as_array().unwrap().iter().map(of).collect()
    };
    let line = |version: &str, good: bool| (version.into(), good.into(), good.into());
    assert_eq!(lines(), [line("1", true), line("2", false)]);
    assert_eq!(serving.get("/v1/audit/m"), audit);
    fs::remove_dir_all(place.path("repository/m/2")).unwrap();
    assert_eq!(load(), 200);
    assert_eq!(lines(), [line("1", true)]);
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
        (
            vec!["--audit-gate", "pgd,min=0.5", "--audit-data", DATA, "--audit-limit", "24"],
            "at least 30 images",
        ),
    ] {
        let error = place.fails(&[&["serve", "m.onnx"][..], &arguments].concat());
        assert!(error.contains(part), "{error}");
    }
    // A bare file brings no images.
    let serving = Serving::start(&place, &["m.onnx", "--audit-gate", "pgd,min=0.5"]);
    assert!(refused(&serving).contains("`--audit-data`"));
}
