//! The span of a request, over HTTP and gRPC, below its caller's.

use std::pin::Pin;
use std::sync::Once;
use std::task;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{FutureExt, Span, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use tonic::Code;

use crate::server::served::Served;

/// Characters of what a client writes into a span, which waits in memory to be sent.
const LONGEST: usize = 512;
/// The methods that spans are named for.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::HEAD,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// What a request's context holds for the spans below its own.
#[derive(Debug)]
pub(super) struct Below {
    pub(super) tracer: SdkTracer,
    /// Whether the request's model is known: a stream of requests may ask for several.
    is_named: Once,
}

/// A request whose span is recorded and ends with this.
#[derive(Debug)]
struct Requested(Context);

/// The body of a call's answer, in whose trailers is what the call came to.
#[derive(Debug)]
struct Answering {
    body: Body,
    requested: Requested,
}

/// `router` with a span for every request over HTTP.
pub(in crate::server) fn requests(
    router: Router,
    tracer: Option<&SdkTracer>,
    is_encrypted: bool,
) -> Router {
    let scheme = if is_encrypted { "https" } else { "http" };
    let Some(tracer) = tracer.cloned() else { return router };
    router.layer(middleware::from_fn_with_state((tracer, scheme), request))
}

/// `router` with a span for every call over gRPC.
pub(in crate::server) fn calls(router: Router, tracer: Option<&SdkTracer>) -> Router {
    let Some(tracer) = tracer.cloned() else { return router };
    router.layer(middleware::from_fn_with_state(tracer, call))
}

/// Says which model the request that is being answered asks for.
pub(in crate::server) fn model(served: &Served) {
    Context::map_current(|current| {
        let Some(below) = current.get::<Below>() else { return };
        below.is_named.call_once(|| {
            current.span().set_attributes([
                KeyValue::new("rift.model.name", served.name().to_owned()),
                KeyValue::new("rift.model.version", served.version().to_string()),
            ]);
        });
    });
}

async fn request(
    State((tracer, scheme)): State<(SdkTracer, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let method = METHODS.iter().find(|method| *method == request.method()).map(Method::as_str);
    let mut name = method.unwrap_or("HTTP").to_owned();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.unwrap_or("_OTHER").to_owned()),
        KeyValue::new("url.path", cut(request.uri().path())),
        KeyValue::new("url.scheme", scheme),
    ];
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        name.extend([" ", route.as_str()]);
        attributes.push(KeyValue::new("http.route", route.as_str().to_owned()));
    }
    let Some(requested) = Requested::begin(&tracer, request.headers(), name, attributes) else {
        return next.run(request).await;
    };
    let response = next.run(request).with_context(requested.0.clone()).await;
    let status = response.status();
    let span = requested.0.span();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        requested.failed(status.as_str().to_owned());
    }
    response
}

async fn call(State(tracer): State<SdkTracer>, request: Request, next: Next) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let (service, method) = path.split_once('/').unwrap_or((path, ""));
    // What is not served is named by nobody but the client.
    let is_served = request.extensions().get::<MatchedPath>().is_some();
    let name = if is_served { cut(path) } else { "grpc".to_owned() };
    let attributes = vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", cut(service)),
        KeyValue::new("rpc.method", cut(method)),
    ];
    let Some(requested) = Requested::begin(&tracer, request.headers(), name, attributes) else {
        return next.run(request).await;
    };
    let response = next.run(request).with_context(requested.0.clone()).await;
    // A call that is refused has no body, and says so in its head.
    requested.came_to(response.headers());
    response.map(|body| Body::new(Answering { body, requested }))
}

impl Requested {
    fn begin(
        tracer: &SdkTracer,
        headers: &HeaderMap,
        name: String,
        attributes: Vec<KeyValue>,
    ) -> Option<Self> {
        let caller = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &CallersHeaders(headers));
        let builder = tracer.span_builder(name).with_kind(SpanKind::Server);
        let span = tracer.build_with_context(builder.with_attributes(attributes), &caller);
        let below = Below { tracer: tracer.clone(), is_named: Once::new() };
        span.is_recording().then(|| Self(Context::new().with_span(span).with_value(below)))
    }

    /// Takes what a call came to from its answer's head or trailers, if it is there.
    fn came_to(&self, headers: &HeaderMap) {
        let Some(status) = headers.get("grpc-status") else { return };
        let code = Code::from_bytes(status.as_bytes());
        let number = code as i32;
        self.0.span().set_attribute(KeyValue::new("rpc.grpc.status_code", i64::from(number)));
        if matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            self.failed(number.to_string());
        }
    }

    fn failed(&self, kind: String) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(""));
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.0.span().end();
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // A stream answers its requests in here.
        let _attached = self.requested.0.clone().attach();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let task::Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.requested.came_to(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The headers in which a caller says whose part a request is.
struct CallersHeaders<'a>(&'a HeaderMap);

impl Extractor for CallersHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok().filter(|value| value.len() <= LONGEST)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// What a client has written, unless it is very long.
fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
