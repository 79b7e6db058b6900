//! A call is a span too.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rift_runtime::server::grpc_messages::{ModelInferResponse, ModelStreamInferResponse};
use tonic::Code;

use super::super::traces::{
    Collector, TOKEN, attributes, bearer, callers, has, is_below_caller, only, serving, text,
    waited_and_ran,
};
use super::{INFER, STREAM, raw, with_token};
use crate::Place;
use crate::small_models::conv_net;

/// Where to listen for calls.
const LISTEN: [&str; 2] = ["--grpc-listen", "127.0.0.1:0"];

#[test]
fn a_call_is_a_span_below_its_callers() {
    let (place, collector) = (Place::with(&conv_net(None)), Collector::start());
    let serving = serving(&place, &collector.url(), &LISTEN);
    let calls = serving.calls();
    let call = |model: &str, token: &str| {
        let mut message = raw(1);
        message.model_name = model.to_owned();
        let mut request = with_token(message, token);
        request.metadata_mut().insert("traceparent", callers().parse().unwrap());
        let called = calls.send::<_, ModelInferResponse>(INFER, request);
        called.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    let wrong = format!("{}x", bearer());
    let codes = [call("m", &bearer()), call("other", &bearer()), call("m", &wrong)];
    assert_eq!(codes, [Code::Ok, Code::NotFound, Code::Unauthenticated]);
    drop(calls);
    assert_eq!(serving.end("-TERM"), 0);
    let (bytes, _, spans) = collector.all();
    for code in codes {
        let number = Value::IntValue(code as i64);
        let came_to = |span: &&Span| {
            attributes(&span.attributes).get("rpc.grpc.status_code") == Some(&number)
        };
        let ended: Vec<Span> = spans.iter().filter(came_to).cloned().collect();
        let span = only(&ended, "inference.GRPCInferenceService/ModelInfer");
        assert!(is_below_caller(span) && span.kind() == SpanKind::Server, "{span:#?}");
        has(
            span,
            &[
                ("rpc.system", text("grpc")),
                ("rpc.service", text("inference.GRPCInferenceService")),
                ("rpc.method", text("ModelInfer")),
            ],
        );
        if code == Code::Ok {
            has(span, &[("rift.model.name", text("m"))]);
            waited_and_ran(&spans, span);
        }
    }
    assert!(!String::from_utf8_lossy(&bytes).contains(TOKEN));
}

#[test]
fn the_requests_of_a_stream_are_below_its_span() {
    let (place, collector) = (Place::with(&conv_net(None)), Collector::start());
    let url = collector.url();
    let with = [&LISTEN[..], &["--otlp-endpoint", &url, "--drain", "10"]].concat();
    let serving = super::Serving::of(&place, &with);
    let calls = serving.calls();
    let (sender, messages) = tokio::sync::mpsc::channel(2);
    let mut answers = calls.stream::<ModelStreamInferResponse>(STREAM, messages).unwrap();
    for _ in 0..2 {
        sender.blocking_send(raw(1)).unwrap();
        assert!(calls.next(&mut answers).unwrap().unwrap().infer_response.is_some());
    }
    drop(sender);
    assert!(calls.next(&mut answers).unwrap().is_none());
    drop((answers, calls));
    assert_eq!(serving.end("-TERM"), 0);
    let (_, _, spans) = collector.all();
    let span = only(&spans, "inference.GRPCInferenceService/ModelStreamInfer");
    has(span, &[("rpc.grpc.status_code", Value::IntValue(0)), ("rift.model.name", text("m"))]);
    let below = spans.iter().filter(|other| other.parent_span_id == span.span_id);
    let mut names: Vec<&str> = below.map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["queue", "queue", "run", "run"]);
}
