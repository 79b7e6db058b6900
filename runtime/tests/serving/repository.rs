//! A model repository that changes under a running server.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::Serving;
use crate::Place;
use crate::hostile_models::grows_when_run;
use crate::small_models::{conv_net, linear_net};

/// Writes a version of the model `m`, whole at once.
fn put(place: &Place, version: u64, content: &[u8]) {
    let folder = place.path(&format!("repository/m/{version}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("new"), content).unwrap();
    fs::rename(folder.join("new"), folder.join("model.onnx")).unwrap();
}

fn start(place: &Place, more: &[&str]) -> Serving {
    let serving = Serving::start(place, &[&["--repository", "repository"], more].concat());
    serving.until_ready();
    serving
}

fn versions(serving: &Serving) -> Value {
    serving.get("/v2/models/m")["versions"].clone()
}

#[test]
fn a_bad_version_never_takes_down_a_good_one() {
    let place = Place::with(&conv_net(None));
    put(&place, 1, &conv_net(None).to_bytes());
    let serving = start(&place, &["--repository-poll", "0"]);
    assert_eq!(versions(&serving), json!(["1"]));
    let mut client = serving.client();
    let hostile = grows_when_run([1, 4000, 4000, 1]);
    for (content, expected) in [(&b"garbage"[..], "ONNX"), (&hostile, "bytes of memory")] {
        put(&place, 2, content);
        let reply = client.post("/v2/repository/models/m/load", b"");
        assert!((400..500).contains(&reply.status), "{}", reply.status);
        assert!(reply.error().contains(expected), "{}", reply.error());
        assert_eq!(versions(&serving), json!(["1"]));
        assert_eq!(client.get("/v2/health/ready").status, 200);
    }
    let index = client.post("/v2/repository/index", b"").json();
    assert_eq!((&index[0]["state"], &index[1]["state"]), (&json!("READY"), &json!("UNAVAILABLE")));
    put(&place, 2, &linear_net().to_bytes());
    assert_eq!(client.post("/v2/repository/models/m/load", b"").status, 200);
    assert_eq!(versions(&serving), json!(["2"]));
    assert_eq!(client.post("/v2/repository/models/none/load", b"").status, 404);
    assert_eq!(serving.end("-TERM"), 0);
}

#[test]
fn a_repository_is_followed() {
    let place = Place::with(&conv_net(None));
    fs::create_dir(place.path("repository")).unwrap();
    let serving = start(&place, &["--repository-poll", "1"]);
    let until = |expected: Value| {
        let index = || serving.client().post("/v2/repository/index", b"{\"ready\": true}").json();
        while index()
            .as_array()
            .unwrap()
            .iter()
            .map(|m| &m["version"])
            .ne(expected.as_array().unwrap())
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    put(&place, 1, &conv_net(None).to_bytes());
    until(json!(["1"]));
    put(&place, 3, &linear_net().to_bytes());
    until(json!(["3"]));
    fs::remove_dir_all(place.path("repository/m")).unwrap();
    until(json!([]));
    assert_eq!(serving.client().get("/v2/health/live").status, 200);
}

#[test]
fn a_bad_model_that_is_taken_away_keeps_nobody_from_being_ready() {
    let place = Place::with(&conv_net(None));
    put(&place, 1, &conv_net(None).to_bytes());
    fs::create_dir_all(place.path("repository/bad/1")).unwrap();
    fs::write(place.path("repository/bad/1/model.onnx"), b"garbage").unwrap();
    let arguments = ["--repository", "repository", "--repository-poll", "1"];
    let serving = Serving::start(&place, &arguments);
    let index = || serving.client().post("/v2/repository/index", b"").json();
    while index()[0]["state"] != "UNAVAILABLE" || index()[1]["state"] != "READY" {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(serving.client().get("/v2/health/ready").status, 503);
    fs::remove_dir_all(place.path("repository/bad")).unwrap();
    serving.until_ready();
    let index = index();
    assert_eq!((index.as_array().unwrap().len(), &index[0]["name"]), (1, &json!("m")));
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    let place = Place::with(&conv_net(None));
    assert!(place.fails(&["serve", "--repository", "none"]).contains("expected a folder"));
    assert!(place.fails(&["serve", "m.onnx", "--repository", "."]).contains("--repository"));
}

#[test]
fn a_hostile_model_is_not_served() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("m.onnx"), grows_when_run([1, 4000, 4000, 1])).unwrap();
    let serving = Serving::start(&place, &["m.onnx"]);
    let mut client = serving.client();
    let state = |client: &mut super::client::Client| {
        client.post("/v2/repository/index", b"").json()[0].clone()
    };
    while state(&mut client)["state"] == "LOADING" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let reason = state(&mut client)["reason"].to_string();
    assert!(reason.contains("bytes of memory when it is tried"), "{reason}");
    assert_eq!(client.get("/v2/health/ready").status, 503);
}
