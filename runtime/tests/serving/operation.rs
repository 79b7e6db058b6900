//! What an operator sees.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::Serving;
use super::protocol::{INFER, request};
use crate::Place;
use crate::small_models::conv_net;

#[test]
fn metrics_count_what_happened() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &["--metrics-compat", "triton"]);
    let mut client = serving.client();
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    assert_eq!(client.post(INFER, b"{").status, 400);
    let labels = "{model=\"m\",version=\"1\"";
    for (series, value) in [
        (format!("rift_requests_total{labels},outcome=\"success\"}}"), 1.0),
        (format!("rift_requests_total{labels},outcome=\"invalid\"}}"), 1.0),
        (format!("rift_images_total{labels}}}"), 1.0),
        (format!("rift_request_seconds_count{labels}}}"), 1.0),
        (format!("rift_compute_seconds_count{labels}}}"), 1.0),
        (format!("rift_batch_images_sum{labels}}}"), 1.0),
        (format!("rift_model_info{labels},sha256="), 1.0),
        ("rift_ready ".to_owned(), 1.0),
        (format!("nv_inference_request_success{labels}}}"), 1.0),
        (format!("nv_inference_request_failure{labels}}}"), 1.0),
        (format!("nv_inference_exec_count{labels}}}"), 1.0),
        (format!("nv_inference_pending_request_count{labels}}}"), 0.0),
    ] {
        assert_eq!(serving.metric(&series), value, "{series}");
    }
    assert!(serving.metric("process_resident_memory_bytes ") > 1e6);
    assert!(serving.metric("rift_connections ") >= 1.0);
}

#[test]
fn the_log_is_json_where_that_is_wanted() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &["--log-format", "json"]);
    assert_eq!(serving.end("-TERM"), 0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"] == "the model is ready"), "{log}");
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{log}");
}

#[test]
fn a_healthcheck_asks_whether_the_server_is_ready() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let address = serving.address.to_string();
    let ended = place.run(&["healthcheck", &address]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "ready\n"), "{}", ended.err);
    drop(serving);
    let ended = place.run(&["healthcheck", &address]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.starts_with("not ready: no answer"), "{}", ended.out);
}

#[test]
fn a_model_that_cannot_be_served_keeps_the_server_from_being_ready() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("bad.onnx"), b"no model").unwrap();
    let serving = Serving::start(&place, &["m.onnx", "bad.onnx"]);
    let mut client = serving.client();
    while !client.get("/v2/health/ready").error().contains("ONNX") {}
    let reply = client.get("/v2/health/ready");
    assert!(reply.error().contains("`bad` is not served"), "{}", reply.error());
    assert_eq!(client.post("/v2/models/bad/infer", b"{}").status, 503);
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    let ended = place.run(&["healthcheck", &serving.address.to_string()]);
    assert!(ended.code == 1 && ended.out.contains("`bad`"), "{}", ended.out);
}

#[test]
fn who_sends_too_much_or_too_slowly_is_answered_and_let_go() {
    let place = Place::with(&conv_net(None));
    let more = ["--max-body", "20000", "--arrival-timeout", "0.2"];
    let serving = Serving::of(&place, &more);
    let large = vec![b' '; 20_001];
    let reply = serving.client().post(INFER, &large);
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
    assert!(reply.error().contains("at most 20000 bytes"), "{}", reply.error());
    let mut chunked = TcpStream::connect(serving.address).unwrap();
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: x.test\r\n\r\n");
    chunked.write_all(head.as_bytes()).unwrap();
    let mut slow = serving.client();
    slow.begin("POST", INFER, &[], 100);
    slow.write(b"{");
    let reply = slow.receive().unwrap();
    assert_eq!(reply.status, 408, "{}", reply.error());
    assert!(slow.receive().is_none());
    let mut silent = serving.client();
    silent.write(b"POST /v2");
    assert!(silent.receive().is_none_or(|reply| reply.status == 408));
    assert_eq!(serving.client().post(INFER, &request(|_| ())).status, 200);
}

#[test]
fn who_does_not_read_its_answers_gives_up_its_place() {
    let place = Place::with(&conv_net(None));
    let more = ["--max-connections", "1", "--arrival-timeout", "0.5"];
    let serving = Serving::of(&place, &more);
    let mut deaf = TcpStream::connect(serving.address).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let requests = "GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    // Until neither side takes any more.
    while deaf.write_all(requests.as_bytes()).is_ok() {}
    assert_eq!(serving.client().get("/v2/health/live").status, 200);
}

#[test]
fn a_long_head_is_refused() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::of(&place, &[]);
    let ask = |length: usize| {
        let mut client = serving.client();
        client.begin("GET", "/v2/health/live", &[("x-long", &"a".repeat(length))], 0);
        client.receive().map(|reply| reply.status)
    };
    assert_eq!(ask(16 << 10), Some(200));
    // The answer may be lost with what is not read of the head.
    assert!(ask(48 << 10).is_none_or(|status| status == 431));
}
