//! Who comes in, and how.

use std::fs;
use std::path::Path;

use rift_runtime::server::grpc_messages::{
    RepositoryIndexRequest, RepositoryIndexResponse, ServerLiveRequest, ServerLiveResponse,
};
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::super::tls::{authority, client_config, write};
use super::super::{Serving, protocol};
use super::calls::{Calls, HEALTH};
use super::{INFER, infer, path, raw, with_token};
use crate::Place;
use crate::small_models::conv_net;

const TOKEN: &str = "a-token-of-the-operator";

#[test]
fn without_a_token_the_door_stays_closed() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("tokens"), TOKEN).unwrap();
    let all = ["m.onnx", "--token-file", "tokens", "--grpc-listen", "0.0.0.0:0", "--allow-remote"];
    let serving = Serving::start_logging(&place, &all, "trace");
    serving.until_ready();
    let calls = serving.calls();
    let right = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {}", TOKEN.to_uppercase());
    assert_eq!(infer(&calls, raw(1)).unwrap_err().code(), Code::Unauthenticated);
    for token in [&wrong, TOKEN, ""] {
        let error = calls.send::<_, ServerLiveResponse>(INFER, with_token(raw(1), token));
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated);
        assert!(error.message().contains("token"), "{}", error.message());
        let request = with_token(RepositoryIndexRequest::default(), token);
        let answer = calls.send::<_, RepositoryIndexResponse>(&path("RepositoryIndex"), request);
        assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
    }
    // Probes need none.
    assert!(calls.call::<_, ServerLiveResponse>("ServerLive", ServerLiveRequest {}).unwrap().live);
    let request = Request::new(HealthCheckRequest::default());
    assert!(calls.send::<_, HealthCheckResponse>(&format!("/{HEALTH}/Check"), request).is_ok());
    let answer = calls.send::<_, RepositoryIndexResponse>(
        &path("RepositoryIndex"),
        with_token(RepositoryIndexRequest::default(), &right),
    );
    assert_eq!(answer.unwrap().into_inner().models.len(), 1);
    drop(calls);
    assert_eq!(serving.end("-INT"), 0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("TRACE") && !log.contains(TOKEN), "{log}");
}

#[test]
fn other_machines_are_let_in_only_on_purpose() {
    let place = Place::with(&conv_net(None));
    let listen = ["serve", "m.onnx", "--listen", "127.0.0.1:0", "--grpc-listen", "0.0.0.0:0"];
    let message = place.fails(&listen);
    assert!(message.contains("open to other machines"), "{message}");
    // A taken place is found at the start, too.
    let serving = Serving::with_grpc(&place, &[]);
    let taken = serving.grpc.unwrap().to_string();
    let message =
        place.fails(&["serve", "m.onnx", "--listen", "127.0.0.1:0", "--grpc-listen", &taken]);
    assert!(message.contains(&format!("cannot listen on `{taken}`")), "{message}");
}

#[test]
fn what_passes_is_encrypted_and_clients_show_who_they_are() {
    let place = Place::with(&conv_net(None));
    let (authority, stranger) = (authority(), authority());
    let folder = place.folder.path();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    write(&authority, folder, "server");
    write(&authority, folder, "client");
    write(&stranger, folder, "stranger");
    let keys = ["--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem"];
    let all = [&["m.onnx", "--grpc-listen", "127.0.0.1:0"][..], &keys].concat();
    let serving = Serving::start(&place, &all);
    let to = |own: Option<&Path>| {
        Calls::encrypted(serving.grpc.unwrap(), client_config(&authority, own))
    };
    let own = folder.join("client");
    let calls = to(Some(&own));
    while infer(&calls, raw(1)).is_err_and(|error| error.code() == Code::Unavailable) {}
    assert_eq!(super::logits(&infer(&calls, raw(1)).unwrap()), protocol::logits(&place, 1));
    assert!(infer(&to(None), raw(1)).is_err());
    assert!(infer(&to(Some(&folder.join("stranger"))), raw(1)).is_err());
    assert!(infer(&serving.calls(), raw(1)).is_err());
}

#[test]
fn requests_for_other_hosts_are_not_answered() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &[]);
    let port = serving.grpc.unwrap().port();
    let calls = Calls::named(serving.grpc.unwrap(), &format!("http://example.org:{port}"));
    let error = infer(&calls, raw(1)).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::PermissionDenied, "the request is for another host")
    );
    let mut request = Request::new(raw(1));
    request.metadata_mut().insert("origin", "https://example.org".parse().unwrap());
    let answer = serving.calls().send::<_, ServerLiveResponse>(INFER, request);
    assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
}
