//! What a collector of OpenTelemetry gets.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::Serving;
use super::protocol::{INFER, request};
use crate::Place;
use crate::small_models::conv_net;

pub(super) const TOKEN: &str = "a-token-of-the-operator";
const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const PARENT: u64 = 0xb7ad_6b71_6920_3331;

/// A collector in this process: what arrives, in bytes.
pub(super) struct Collector {
    address: SocketAddr,
    arrived: Receiver<Vec<u8>>,
    _runtime: Runtime,
}

/// Takes everything.
struct Taking;

#[tonic::async_trait]
impl TraceService for Taking {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn keep(State(arrived): State<Sender<Vec<u8>>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let response = next.run(Request::from_parts(parts, Body::from(bytes.clone()))).await;
    let _ = arrived.send(bytes.to_vec());
    response
}

impl Collector {
    pub(super) fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, arrived) = channel();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback_service(TraceServiceServer::new(Taking))
            .layer(from_fn_with_state(sender, keep));
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                let connection = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, arrived, _runtime: runtime }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that has arrived from a server that has ended: the bytes, the resource, the spans.
    pub(super) fn all(self) -> (Vec<u8>, BTreeMap<String, Value>, Vec<Span>) {
        let all: Vec<Vec<u8>> = self.arrived.try_iter().collect();
        let (mut resource, mut spans) = (BTreeMap::new(), Vec::new());
        for message in &all {
            // After the frame's head: no packing, and the length.
            for of in ExportTraceServiceRequest::decode(&message[5..]).unwrap().resource_spans {
                resource = attributes(&of.resource.unwrap().attributes);
                spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        (all.concat(), resource, spans)
    }
}

pub(super) fn attributes(list: &[KeyValue]) -> BTreeMap<String, Value> {
    let map = list.iter().map(|pair| {
        let value = pair.value.clone().and_then(|value| value.value);
        (pair.key.clone(), value.unwrap())
    });
    let map: BTreeMap<String, Value> = map.collect();
    assert_eq!(map.len(), list.len(), "an attribute is there twice: {list:?}");
    map
}

pub(super) fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

/// The span that is the only one of its name.
pub(super) fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    let first = named.next();
    assert!(first.is_some() && named.next().is_none(), "`{name}` among {spans:#?}");
    first.unwrap()
}

pub(super) fn has(span: &Span, expected: &[(&str, Value)]) {
    let attributes = attributes(&span.attributes);
    for (key, value) in expected {
        assert_eq!(attributes.get(*key), Some(value), "{key} of {span:#?}");
    }
}

/// Asserts that the wait and the run of one image are below `request` and within its time.
pub(super) fn waited_and_ran(spans: &[Span], request: &Span) {
    let [queue, run] = ["queue", "run"].map(|name| {
        let below = |span: &&Span| span.name == name && span.parent_span_id == request.span_id;
        let found: Vec<&Span> = spans.iter().filter(below).collect();
        assert_eq!(found.len(), 1, "{name} below {request:#?} among {spans:#?}");
        assert_eq!(found[0].trace_id, request.trace_id);
        assert_eq!(found[0].kind(), SpanKind::Internal);
        found[0]
    });
    has(run, &[("rift.batch.size", Value::IntValue(1))]);
    let times = [
        request.start_time_unix_nano,
        queue.start_time_unix_nano,
        queue.end_time_unix_nano,
        run.start_time_unix_nano,
        run.end_time_unix_nano,
        request.end_time_unix_nano,
    ];
    assert!(times.is_sorted(), "{times:?}");
}

/// A server with a token that sends its traces to `url`; what it is let in with.
pub(super) fn serving(place: &Place, url: &str, more: &[&str]) -> Serving {
    fs::write(place.path("tokens"), TOKEN).unwrap();
    let with = ["--token-file", "tokens", "--otlp-endpoint", url, "--drain", "10"];
    Serving::of(place, &[&with, more].concat())
}

pub(super) fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// What a caller says of itself.
pub(super) fn callers() -> String {
    format!("00-{TRACE:032x}-{PARENT:016x}-01")
}

/// Whether a span is below the caller's.
pub(super) fn is_below_caller(span: &Span) -> bool {
    span.trace_id == TRACE.to_be_bytes() && span.parent_span_id == PARENT.to_be_bytes()
}

#[test]
fn a_request_is_a_span_below_its_callers() {
    let (place, collector) = (Place::with(&conv_net(None)), Collector::start());
    let serving = serving(&place, &collector.url(), &[]);
    let (bearer, callers) = (bearer(), callers());
    let headers = [("authorization", bearer.as_str()), ("traceparent", &callers)];
    let path = format!("{INFER}?key=of-the-query");
    assert_eq!(serving.client().send("POST", &path, &headers, &request(|_| ())).status, 200);
    assert_eq!(serving.end("-TERM"), 0);
    let (bytes, resource, spans) = collector.all();
    let span = only(&spans, "POST /v2/models/{model}/infer");
    assert!(is_below_caller(span) && span.kind() == SpanKind::Server, "{span:#?}");
    has(
        span,
        &[
            ("http.request.method", text("POST")),
            ("http.route", text("/v2/models/{model}/infer")),
            ("http.response.status_code", Value::IntValue(200)),
            ("url.path", text(INFER)),
            ("url.scheme", text("http")),
            ("rift.model.name", text("m")),
            ("rift.model.version", text("1")),
        ],
    );
    waited_and_ran(&spans, span);
    assert_eq!(resource["service.name"], text("rift-runtime"));
    assert_eq!(resource["service.version"], text(env!("CARGO_PKG_VERSION")));
    let said = String::from_utf8_lossy(&bytes);
    assert!(!said.contains(TOKEN) && !said.contains("of-the-query"), "{said}");
}

#[test]
fn who_is_refused_leaves_a_span_without_the_token() {
    let (place, collector) = (Place::with(&conv_net(None)), Collector::start());
    let serving = serving(&place, &collector.url(), &[]);
    let wrong = format!("{}x", bearer());
    let reply = serving.client().send("POST", INFER, &[("authorization", &wrong)], b"{}");
    assert_eq!(reply.status, 401);
    let reply = serving.client().send("DROP", "/nothing", &[("authorization", &wrong)], b"");
    assert_eq!(reply.status, 401);
    assert_eq!(serving.end("-TERM"), 0);
    let (bytes, _, spans) = collector.all();
    let span = only(&spans, "POST /v2/models/{model}/infer");
    has(span, &[("http.response.status_code", Value::IntValue(401))]);
    assert!(
        span.parent_span_id.is_empty()
            && !attributes(&span.attributes).contains_key("rift.model.name")
    );
    // What a client makes up names no span.
    has(
        only(&spans, "HTTP"),
        &[("http.request.method", text("_OTHER")), ("url.path", text("/nothing"))],
    );
    assert!(spans.iter().all(|span| span.name != "queue"));
    assert!(!String::from_utf8_lossy(&bytes).contains(TOKEN));
}

#[test]
fn who_does_not_want_a_trace_gets_none() {
    let (place, collector) = (Place::with(&conv_net(None)), Collector::start());
    let serving = serving(&place, &collector.url(), &[]);
    let (bearer, callers) = (bearer(), format!("00-{TRACE:032x}-{PARENT:016x}-00"));
    let headers = [("authorization", bearer.as_str()), ("traceparent", &callers)];
    assert_eq!(serving.client().send("POST", INFER, &headers, &request(|_| ())).status, 200);
    assert_eq!(serving.end("-TERM"), 0);
    let (_, _, spans) = collector.all();
    let is_the_callers = |span: &Span| span.trace_id == TRACE.to_be_bytes();
    assert!(!spans.is_empty() && !spans.iter().any(is_the_callers), "{spans:#?}");
}

#[test]
fn a_collector_that_is_away_is_said_once() {
    let place = Place::with(&conv_net(None));
    // A port that nobody listens on any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::write(place.path("tokens"), TOKEN).unwrap();
    let url = format!("http://{gone}");
    let mut command = place.command(&["serve", "m.onnx", "--listen", "127.0.0.1:0"]);
    command.args(["--otlp-endpoint", &url, "--drain", "10"]);
    // Often, so that it fails more than once.
    command.env("RIFT_LOG", "info").env("OTEL_BSP_SCHEDULE_DELAY", "1");
    let serving = Serving::run(&place, command);
    serving.until_ready();
    let log = || fs::read_to_string(place.path("log")).unwrap();
    let mut client = serving.client();
    while !log().contains("traces cannot be sent") {
        assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
        std::thread::sleep(Duration::from_millis(5));
    }
    // The next batch fails before the server has ended, if not before.
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    drop(client);
    assert_eq!(serving.end("-TERM"), 0);
    assert_eq!(log().matches("traces cannot be sent").count(), 1, "{}", log());
}

#[test]
fn what_is_no_collector_is_refused() {
    let place = Place::with(&conv_net(None));
    for url in ["127.0.0.1:4317", "https://localhost:4317", "nothing"] {
        let listen = ["serve", "m.onnx", "--listen", "127.0.0.1:0", "--otlp-endpoint", url];
        let message = place.fails(&listen);
        assert!(message.contains("expected `http://HOST:PORT`"), "{message}");
    }
}
