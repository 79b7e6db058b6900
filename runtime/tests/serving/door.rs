//! Who comes in.

use std::fs;

use super::Serving;
use super::protocol::{INFER, request};
use crate::Place;
use crate::small_models::conv_net;

const TOKEN: &str = "a-token-of-the-operator";

#[test]
fn without_a_token_the_door_stays_closed() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("tokens"), TOKEN).unwrap();
    let all = ["--listen", "0.0.0.0:0", "--token-file", "tokens", "--allow-remote"];
    let serving = Serving::start_logging(&place, &[&["m.onnx"], &all[..]].concat(), "trace");
    serving.until_ready();
    let mut client = serving.client();
    let right = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {}", TOKEN.to_uppercase());
    let body = request(|_| ());
    for path in [INFER, "/v1/classify", "/v2/repository/models/m/unload", "/nothing"] {
        for headers in [&[][..], &[("authorization", wrong.as_str())], &[("authorization", TOKEN)]]
        {
            let reply = serving.client().send("POST", path, headers, &body);
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")));
            assert!(reply.error().contains("token"));
        }
    }
    assert_eq!(serving.client().get("/metrics").status, 401);
    assert_eq!(client.get("/v2/health/live").status, 200);
    assert_eq!(client.send("POST", INFER, &[("authorization", &right)], &body).status, 200);
    drop(client);
    assert_eq!(serving.end("-INT"), 0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("TRACE") && !log.contains(TOKEN), "{log}");
}

#[test]
fn other_machines_are_let_in_only_on_purpose() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("short"), "abc").unwrap();
    let listen = ["serve", "m.onnx", "--listen", "0.0.0.0:0"];
    for (more, part) in [
        (&[][..], "open to other machines"),
        (&["--allow-remote"], "--token-file"),
        (&["--allow-remote", "--token-file", "missing"], "cannot read `missing`"),
        (&["--allow-remote", "--token-file", "short"], "a token of 3 characters"),
        (&["--tls-cert", "x.pem"], "--tls-key"),
        (&["--insecure", "--tls-cert", "x.pem", "--tls-key", "x.pem"], "cannot read `x.pem`"),
    ] {
        let message = place.fails(&[&listen[..], more].concat());
        assert!(message.contains(part), "{more:?}: {message}");
    }
    let serving = Serving::start(&place, &["m.onnx", "--listen", "0.0.0.0:0", "--insecure"]);
    serving.until_ready();
    assert_eq!(serving.client().get("/v2").status, 200);
}

#[test]
fn pages_from_elsewhere_reach_nothing() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let here = format!("http://{}", serving.address);
    let mut client = serving.client();
    let mut unload = |headers: &[(&str, &str)]| {
        client.send("POST", "/v2/repository/models/m/unload", headers, b"").status
    };
    assert_eq!(unload(&[("origin", "https://example.org")]), 403);
    assert_eq!(unload(&[("origin", "null")]), 403);
    let host = serving.address.to_string();
    assert_eq!(client.send_to(&host, "GET", "/v2", &[("origin", &here)]).status, 200);
    assert_eq!(client.send_to("example.org", "GET", "/v2", &[]).status, 403);
    let reply = client.get("/v2/health/live");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[test]
fn a_probe_without_a_token_learns_nothing_but_yes_and_no() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("tokens"), TOKEN).unwrap();
    fs::write(place.path("bad.onnx"), b"no model").unwrap();
    let serving = Serving::start(&place, &["bad.onnx", "--token-file", "tokens"]);
    let right = format!("Bearer {TOKEN}");
    let ask = |headers: &[(&str, &str)]| {
        let reply = serving.client().send("GET", "/v2/health/ready", headers, b"");
        assert_eq!(reply.status, 503);
        reply.json()
    };
    while !ask(&[("authorization", &right)])["error"].to_string().contains("`bad` is not served") {}
    for headers in [&[][..], &[("authorization", "Bearer of-something-else-altogether")]] {
        assert_eq!(ask(headers), serde_json::json!({"ready": false}));
    }
}
