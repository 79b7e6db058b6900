//! A connection that carries calls, many at once.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::server::app::App;

/// The calls that a connection may have open at once.
const MOST_CALLS: u32 = 256;
/// Bytes of a call's head.
const MOST_HEAD: u32 = 16 << 10;

/// How many calls of a connection are open.
#[derive(Clone, Debug)]
struct Calls(watch::Sender<usize>);

/// A call that is counted until it is dropped.
#[derive(Debug)]
struct Call(Calls);

/// The body of an answer, whose call is open until its end.
#[derive(Debug)]
struct Answer {
    body: Body,
    _call: Call,
}

/// Serves `router` on `stream` until its client leaves, the server ends, or no call has been open for as
/// long as one may take to begin.
pub(in crate::server) async fn converse(
    app: &App,
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
) -> hyper::Result<()> {
    let calls = Calls(watch::Sender::new(0));
    let service = TowerToHyperService::new(router);
    let counted = service_fn(|request: Request<Incoming>| {
        let call = calls.begin();
        let answer = hyper::service::Service::call(&service, request);
        async move {
            let answer: Response<Body> = answer.await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Answer { body, _call: call }))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // Who has gone without a word is found out.
        .keep_alive_interval(app.limits.arrival)
        .max_concurrent_streams(MOST_CALLS)
        .max_header_list_size(MOST_HEAD)
        .serve_connection(TokioIo::new(stream), counted);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = app.closing() => {}
        () = calls.quiet(app.limits.arrival) => {}
    }
    // The client is told to begin no more calls here; those that it has begun are answered.
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = calls.quiet(app.limits.arrival) => Ok(()),
    }
}

impl Calls {
    fn begin(&self) -> Call {
        self.0.send_modify(|open| *open += 1);
        Call(self.clone())
    }

    /// Ends when no call has been open for so long.
    async fn quiet(&self, long: Duration) {
        let mut open = self.0.subscribe();
        loop {
            // The sender is here: it is never gone.
            let _ = open.wait_for(|open| *open == 0).await;
            tokio::select! {
                () = tokio::time::sleep(long) => return,
                _ = open.changed() => {}
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
