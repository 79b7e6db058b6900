//! Where the images of a request are: in the queue, then in a run.

use opentelemetry::trace::{Span as _, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::request::Below;

/// The stage that is under way, as a span that ends with it; nothing where the request has no span.
#[derive(Debug)]
pub(in crate::server) struct Stage(Option<Begun>);

#[derive(Debug)]
struct Begun {
    tracer: SdkTracer,
    request: Context,
    span: Span,
}

impl Stage {
    /// The images of the request that is being answered begin to wait.
    pub(in crate::server) fn queue() -> Self {
        let begun = Context::map_current(|current| {
            let tracer = current.get::<Below>()?.tracer.clone();
            // What it is called, not itself: a request whose client has gone ends before a worker sees that.
            let request = current.span().span_context().clone();
            let request = Context::new().with_remote_span_context(request);
            let span = tracer.start_with_context("queue", &request);
            Some(Begun { tracer, request, span })
        });
        Self(begun)
    }

    /// They run, in a batch of so many images.
    pub(in crate::server) fn run(&mut self, batch: usize) {
        let Some(begun) = &mut self.0 else { return };
        let attributes = vec![KeyValue::new("rift.batch.size", batch as i64)];
        let run = begun.tracer.span_builder("run").with_attributes(attributes);
        begun.span.end();
        begun.span = begun.tracer.build_with_context(run, &begun.request);
    }
}
