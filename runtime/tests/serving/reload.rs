//! Models that are opened again and given up while the server runs.

use std::fs;

use serde_json::json;

use super::Serving;
use super::protocol::{INFER, request};
use crate::Place;
use crate::small_models::{conv_net, linear_net};

#[test]
fn models_are_loaded_again_and_unloaded() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let mut client = serving.client();
    let line = |state: &str, reason: &str| json!([{"name": "m", "version": "1", "state": state, "reason": reason}]);
    let index = |client: &mut super::Client| client.post("/v2/repository/index", b"").json();
    assert_eq!(index(&mut client), line("READY", ""));
    let before = client.post(INFER, &request(|_| ())).json();
    // A file that is no model leaves the old one where it is.
    fs::write(place.path("m.onnx"), b"garbage").unwrap();
    let refused = client.post("/v2/repository/models/m/load", b"");
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("ONNX"), "{}", refused.error());
    assert_eq!(client.post(INFER, &request(|_| ())).json(), before);
    assert_eq!(index(&mut client), line("READY", ""));
    linear_net().write(&place.path("m.onnx")).unwrap();
    assert_eq!(client.post("/v2/repository/models/m/load", b"").status, 200);
    let after = client.post(INFER, &request(|_| ())).json();
    assert_ne!(after["outputs"][0]["data"], before["outputs"][0]["data"]);
    assert_eq!(client.post("/v2/repository/models/m/unload", b"{}").status, 200);
    assert_eq!(index(&mut client), line("UNAVAILABLE", "unloaded"));
    assert_eq!(client.post("/v2/repository/index", b"{\"ready\": true}").json(), json!([]));
    let gone = client.post(INFER, &request(|_| ()));
    assert_eq!(gone.status, 503);
    assert!(gone.error().contains("unloaded"), "{}", gone.error());
    // It was asked for: the server is ready without it.
    assert_eq!(client.get("/v2/health/ready").status, 200);
    assert_eq!(client.post("/v2/repository/models/m/load", b"").status, 200);
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    assert_eq!(client.post("/v2/repository/models/x/load", b"").status, 404);
    assert_eq!(client.post("/v2/repository/models/x/unload", b"").status, 404);
    assert_eq!(client.post("/v2/repository/index", b"3").status, 400);
}
