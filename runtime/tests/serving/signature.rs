//! `--require-signature`: what the holder of the key has not signed is not served.

use std::fs;
use std::path::Path;

use rift_models::artifact::Bundle;
use rift_models::signature::{Envelope, PrivateKey, model};
use serde_json::json;

use super::Serving;
use super::protocol::{INFER, request};
use crate::Place;
use crate::small_models::{bundle, conv_net, linear_net};

const REQUIRED: [&str; 2] = ["--require-signature", "key.pub"];

/// A key whose other half lies in `place`.
fn key(place: &Place) -> PrivateKey {
    let key = PrivateKey::generate();
    key.public().write(&place.path("key.pub")).unwrap();
    key
}

/// Signs what lies in a bundle.
fn sign(path: &Path, key: &PrivateKey) {
    let signature = path.join(Bundle::SIGNATURE);
    let statement = model::describe(path, &signature).unwrap();
    let signed = Envelope::sign(&statement, key).to_bundle(&key.public());
    fs::write(signature, signed.to_string()).unwrap();
}

/// Waits until the server has refused its only model, and returns why.
fn refusal(serving: &Serving) -> String {
    loop {
        let reply = serving.client().get("/v2/health/ready");
        assert_eq!(reply.status, 503);
        if !reply.error().contains("being loaded") {
            assert_eq!(serving.client().post(INFER, &request(|_| ())).status, 503);
            return reply.error();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_signed_bundle_is_served_and_a_bad_new_one_leaves_it_so() {
    let place = Place::with(&conv_net(None));
    let key = key(&place);
    let path = bundle(place.folder.path(), &conv_net(None));
    sign(&path, &key);
    let serving = Serving::start(&place, &[&["m=bundle"][..], &REQUIRED].concat());
    serving.until_ready();
    let mut client = serving.client();
    let before = client.post(INFER, &request(|_| ())).json();
    // Whole, and by its own card: only the signature is not of these files.
    bundle(place.folder.path(), &linear_net());
    let reply = client.post("/v2/repository/models/m/load", b"");
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("bears no signature"), "{}", reply.error());
    sign(&path, &PrivateKey::generate());
    let reply = client.post("/v2/repository/models/m/load", b"");
    assert!(reply.error().contains("another key"), "{}", reply.error());
    assert_eq!(client.post(INFER, &request(|_| ())).json(), before);
    assert_eq!(client.get("/v2/health/ready").status, 200);
    sign(&path, &key);
    assert_eq!(client.post("/v2/repository/models/m/load", b"").status, 200);
    assert_ne!(client.post(INFER, &request(|_| ())).json(), before);
    assert_eq!(serving.end("-TERM"), 0);
}

#[test]
fn a_changed_byte_in_any_file_is_a_model_that_is_not_served() {
    let place = Place::with(&conv_net(None));
    let key = key(&place);
    let path = bundle(place.folder.path(), &conv_net(None));
    sign(&path, &key);
    for (file, at) in
        [(Bundle::MODEL, 1000), (Bundle::CARD, 30), (Bundle::PROBE, 500), (Bundle::SIGNATURE, 500)]
    {
        let good = fs::read(path.join(file)).unwrap();
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(path.join(file), bytes).unwrap();
        let serving = Serving::start(&place, &[&["m=bundle"][..], &REQUIRED].concat());
        let reason = refusal(&serving);
        assert!(reason.contains("model `m` is not served"), "{file}: {reason}");
        assert_eq!(serving.end("-TERM"), 0);
        fs::write(path.join(file), good).unwrap();
    }
    fs::write(path.join("another"), b"file").unwrap();
    let serving = Serving::start(&place, &[&["m=bundle"][..], &REQUIRED].concat());
    assert!(refusal(&serving).contains("`another` is not signed"));
}

#[test]
fn what_is_not_signed_is_not_served() {
    let place = Place::with(&conv_net(None));
    let key = key(&place);
    let path = bundle(place.folder.path(), &conv_net(None));
    let reason =
        |model: &str| refusal(&Serving::start(&place, &[&[model][..], &REQUIRED].concat()));
    assert!(reason("m=bundle").contains("it has no `model.sig` (`rift-exporter sign` writes it)"));
    let bare = reason("m.onnx");
    assert!(bare.contains("expected a bundle with a `model.sig`, found a bare file"), "{bare}");
    sign(&path, &PrivateKey::generate());
    assert!(reason("m=bundle").contains("it was made with another key"));
    drop(key);
}

#[test]
fn a_version_in_a_repository_is_served_once_it_is_signed() {
    let place = Place::with(&conv_net(None));
    let key = key(&place);
    fs::create_dir_all(place.path("repository/m")).unwrap();
    let put = |version: &str, model: &rift_models::onnx::Model| {
        let path = place.path("repository/m").join(version);
        fs::rename(bundle(place.folder.path(), model), &path).unwrap();
        path
    };
    sign(&put("1", &conv_net(None)), &key);
    let arguments = ["--repository", "repository", "--repository-poll", "1"];
    let serving = Serving::start(&place, &[&arguments[..], &REQUIRED].concat());
    serving.until_ready();
    let later = put("2", &linear_net());
    let state = |version: usize| {
        let index = serving.client().post("/v2/repository/index", b"").json();
        index[version - 1]["state"].clone()
    };
    while state(2) != "UNAVAILABLE" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(serving.get("/v2/models/m")["versions"], json!(["1"]));
    sign(&later, &key);
    while serving.get("/v2/models/m")["versions"] != json!(["2"]) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_key_that_is_none_is_an_error() {
    let place = Place::with(&conv_net(None));
    let error = place.fails(&["serve", "m.onnx", "--require-signature", "m.onnx"]);
    assert!(error.contains("expected a public key on the curve P-256 in PEM"), "{error}");
    assert!(place.fails(&["serve", "m.onnx", "--require-signature", "none"]).contains("`none`"));
}
