//! Connections: taken one by one, kept within limits, and let go without losing a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::server::app::App;

/// How long the system is given after a failure to take a connection.
const BREATH: Duration = Duration::from_millis(50);

/// Serves `router` on what `listener` takes in until `end` comes, then lets what is under way end.
pub(in crate::server) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()>,
) {
    let connections = Arc::new(Semaphore::new(app.limits.connections));
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(end);
    loop {
        // Who finds no place waits in the system's queue.
        let place = tokio::select! {
            place = Arc::clone(&connections).acquire_owned() => place,
            () = &mut end => break,
        };
        let stream = tokio::select! {
            taken = take(&listener) => taken,
            () = &mut end => break,
        };
        let connection = connection(&app, stream, router.clone());
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            // A connection that breaks is its client's affair.
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    app.end();
    drop(listener);
    if tokio::time::timeout(app.limits.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = app.limits.shutdown.as_secs(), "requests are cut off");
    }
}

async fn take(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // An answer is written at once: there is nothing to wait for.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    app: &App,
    stream: S,
    router: Router,
) -> http1::Connection<TokioIo<S>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.limits.arrival)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
