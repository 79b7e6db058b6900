//! Traces for OpenTelemetry: a span for each request, and below it one for its wait and one for its run.
//!
//! Names are those of [OpenTelemetry's semantic conventions][conventions]; what they do not know begins
//! with `rift.`. Spans leave in batches, by a thread of their own: a request puts its span into a bounded
//! queue, and where that is full the span is lost, not the time.
//!
//! [conventions]: https://opentelemetry.io/docs/specs/semconv/

mod away;
mod request;
mod stage;

use std::io;
use std::time::Duration;

use axum::http::Uri;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Runtime;

use away::Reporting;

pub(super) use request::{calls, model, requests};
pub(super) use stage::Stage;

/// Traces that cannot be sent as the user says.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// Not an address of a collector.
    #[error(
        "cannot send traces to `{endpoint}`, expected `http://HOST:PORT`, which speaks OTLP over gRPC"
    )]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The environment asks for what cannot be done.
    #[error("cannot send traces")]
    Exporter(#[from] ExporterBuildError),
    /// The system gives no threads.
    #[error("cannot send traces")]
    Runtime(#[source] io::Error),
}

/// What sends spans to a collector.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    /// The connection's: the server's own threads have nothing to do with it.
    runtime: Runtime,
}

impl Traces {
    /// Sends to the collector at `endpoint`, which need not be there, as the variables `OTEL_…` of the
    /// environment say.
    ///
    /// # Errors
    /// If `endpoint` is no address of a collector, a variable asks for what cannot be done, or the system
    /// gives no threads.
    pub fn to(endpoint: &str) -> Result<Self, TracesError> {
        let is_plain = |uri: Uri| uri.scheme_str() == Some("http") && uri.authority().is_some();
        if !endpoint.parse().is_ok_and(is_plain) {
            return Err(TracesError::Endpoint { endpoint: endpoint.to_owned() });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("rift traces")
            .enable_all()
            .build()
            .map_err(TracesError::Runtime)?;
        let exporter = {
            let _entered = runtime.enter();
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Reporting::to(exporter))
            .with_resource(resource())
            .build();
        Ok(Self { provider, runtime })
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer(env!("CARGO_PKG_NAME"))
    }

    /// Sends what is left, if that is done `within` this time.
    pub fn end(self, within: Duration) {
        if self.provider.shutdown_with_timeout(within).is_err() {
            tracing::warn!("the last traces have not been sent in time");
        }
        self.runtime.shutdown_background();
    }
}

/// What the spans are of: the environment's word goes first.
fn resource() -> Resource {
    const NAME: &str = "service.name";
    let own = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let said = Resource::builder().build();
    // Where nobody has said a name, it would be `unknown_service:rift-runtime`.
    let is_named = |name: Value| !name.as_str().starts_with("unknown_service");
    let name = said.get(&Key::new(NAME)).filter(|name| is_named(name.clone()));
    let name = KeyValue::new(NAME, name.unwrap_or_else(|| env!("CARGO_PKG_NAME").into()));
    let said = said.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes([own].into_iter().chain(said).chain([name])).build()
}
