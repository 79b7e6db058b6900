//! Too much, too slowly, too late; and the end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rift_runtime::server::grpc_messages::infer_parameter::ParameterChoice;
use rift_runtime::server::grpc_messages::{
    ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use tonic::{Code, Request, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use super::super::Serving;
use super::super::admission::{ONE, slow_net};
use super::super::protocol::logits as expected;
use super::calls::{Called, Calls, HEALTH, INFERENCE, impatient};
use super::{INFER, STREAM, infer, logits, parameter, raw};
use crate::Place;
use crate::small_models::conv_net;

fn begin(calls: &Calls) -> Called<ModelInferResponse> {
    calls.begin(INFER, Request::new(raw(1)))
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let place = Place::with(&slow_net());
    let serving = Serving::with_grpc(&place, &[&ONE[..], &["--queue", "1"]].concat());
    let calls = serving.calls();
    let running = begin(&calls);
    serving.until("rift_busy_cores", 1.0);
    let waiting = begin(&calls);
    serving.until("rift_queue_requests", 1.0);
    let refused = infer(&calls, raw(1)).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let again = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(again, Some(Duration::from_secs(1)));
    assert!(calls.wait(running).is_ok() && calls.wait(waiting).is_ok());
    let series = "rift_requests_total{model=\"m\",version=\"1\",outcome=\"overloaded";
    assert_eq!(serving.metric(series), 1.0);
}

#[test]
fn who_has_gone_costs_nothing() {
    let place = Place::with(&slow_net());
    let serving = Serving::with_grpc(&place, &ONE);
    let calls = serving.calls();
    let running = begin(&calls);
    serving.until("rift_busy_cores", 1.0);
    let gone = [begin(&calls), begin(&calls)];
    serving.until("rift_queue_requests", 2.0);
    gone.iter().for_each(Called::abort);
    serving.until("rift_requests_total{model=\"m\",version=\"1\",outcome=\"cancelled", 2.0);
    assert!(calls.wait(running).is_ok());
    assert_eq!(serving.metric("rift_images_total"), 1.0);
}

#[test]
fn a_deadline_is_kept_however_it_is_said() {
    let place = Place::with(&slow_net());
    let serving = Serving::with_grpc(&place, &ONE);
    let calls = serving.calls();
    let mut hurried = raw(1);
    hurried.parameters = parameter("timeout", ParameterChoice::Int64Param(5000));
    let error = infer(&calls, hurried).unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.message().contains("within 5 ms"), "{}", error.message());
    let mut request = Request::new(raw(1));
    request.metadata_mut().insert("grpc-timeout", "4000u".parse().unwrap());
    let error =
        impatient::<_, ModelInferResponse>(serving.grpc.unwrap(), INFER, request).unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.message().contains("within 4 ms"), "{}", error.message());
    let mut request = Request::new(raw(1));
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    let error = calls.send::<_, ModelInferResponse>(INFER, request).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(infer(&calls, raw(1)).is_ok());
    assert_eq!(serving.metric("rift_images_total"), 1.0);
}

#[test]
fn a_message_that_is_too_large_is_refused_before_it_comes() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &["--max-body", "20000"]);
    let calls = serving.calls();
    let mut large = raw(1);
    large.raw_input_contents = vec![vec![0; 1 << 20].into()];
    let error = infer(&calls, large).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("expected at most 20000"), "{}", error.message());
    assert!(infer(&calls, raw(1)).is_ok());
}

#[test]
fn who_says_nothing_is_let_go() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &["--arrival-timeout", "0.2"]);
    for begun in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\n"] {
        let mut silent = TcpStream::connect(serving.grpc.unwrap()).unwrap();
        silent.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        silent.write_all(begun).unwrap();
        let mut rest = Vec::new();
        // Whatever the server says, it closes.
        let _ = silent.read_to_end(&mut rest);
        assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);
    }
    // A client whose connection has been closed meanwhile opens another.
    let calls = serving.calls();
    for _ in 0..3 {
        assert!(infer(&calls, raw(1)).is_ok());
        serving.until("rift_connections ", 1.0);
    }
}

fn stream(calls: &Calls, messages: Vec<ModelInferRequest>) -> Streaming<ModelStreamInferResponse> {
    let (sender, receiver) = tokio::sync::mpsc::channel(messages.len());
    for message in messages {
        sender.try_send(message).unwrap();
    }
    calls.stream(STREAM, receiver).unwrap()
}

#[test]
fn a_stream_answers_in_order_and_outlives_errors() {
    let place = Place::with(&conv_net(None));
    let serving = Serving::with_grpc(&place, &[]);
    let calls = serving.calls();
    let request = |number: usize| {
        let mut request = raw(1 + number % 3);
        request.id = number.to_string();
        if number % 5 == 4 {
            request.inputs[0].datatype = "INT64".to_owned();
        }
        request
    };
    let mut answers = stream(&calls, (0..40).map(request).collect());
    for number in 0..40 {
        let answer = calls.next(&mut answers).unwrap().unwrap();
        let inner = answer.infer_response.unwrap();
        assert_eq!(inner.id, number.to_string());
        if number % 5 == 4 {
            assert!(answer.error_message.contains("expected `FP32`"), "{}", answer.error_message);
        } else {
            assert_eq!(answer.error_message, "");
            assert_eq!(logits(&inner), expected(&place, 1 + number % 3));
        }
    }
    assert!(calls.next(&mut answers).unwrap().is_none());
}

#[test]
fn what_is_under_way_is_answered_when_the_server_ends() {
    let place = Place::with(&slow_net());
    let serving = Serving::with_grpc(&place, &[&ONE[..], &["--drain", "0.2"]].concat());
    let calls = serving.calls();
    let path = format!("/{HEALTH}/Watch");
    let service = INFERENCE.to_owned();
    let mut health: Streaming<HealthCheckResponse> =
        calls.watch(&path, HealthCheckRequest { service });
    let mut told = || calls.next(&mut health).unwrap().map(|told| told.status());
    assert_eq!(told(), Some(ServingStatus::Serving));
    // It stays open, without another request.
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    sender.try_send(raw(1)).unwrap();
    let mut answers: Streaming<ModelStreamInferResponse> = calls.stream(STREAM, receiver).unwrap();
    let waiting = [begin(&calls), begin(&calls)];
    serving.until("rift_queue_requests", 2.0);
    serving.signal("-TERM");
    assert_eq!(told(), Some(ServingStatus::NotServing));
    assert_eq!(told(), None);
    let answer = calls.next(&mut answers).unwrap().unwrap();
    assert_eq!(answer.error_message, "");
    assert!(calls.next(&mut answers).unwrap().is_none());
    for called in waiting {
        assert!(calls.wait(called).is_ok());
    }
    assert_eq!(serving.ended(), 0);
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(!log.contains("cut off"), "{log}");
    drop(sender);
}

#[test]
fn health_is_asked_by_name() {
    let place = Place::with(&conv_net(None));
    fs::write(place.path("bad.onnx"), b"no model").unwrap();
    let arguments = ["m.onnx", "bad.onnx", "--grpc-listen", "127.0.0.1:0"];
    let serving = Serving::start(&place, &arguments);
    let mut client = serving.client();
    while !client.get("/v2/health/ready").error().contains("ONNX") {}
    let calls = serving.calls();
    let check = |service: &str| {
        let request = Request::new(HealthCheckRequest { service: service.to_owned() });
        let answer = calls.send::<_, HealthCheckResponse>(&format!("/{HEALTH}/Check"), request);
        answer.map(|answer| answer.into_inner().status())
    };
    for service in ["", INFERENCE] {
        assert_eq!(check(service).unwrap(), ServingStatus::NotServing);
    }
    assert_eq!(check("x").unwrap_err().code(), Code::NotFound);
    assert_eq!(client.post("/v2/repository/models/bad/unload", b"").status, 200);
    serving.until_ready();
    assert_eq!(check("").unwrap(), ServingStatus::Serving);
}
