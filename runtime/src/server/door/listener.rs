//! Connections: taken one by one, kept within limits, and let go without losing a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::patience::Patient;
use super::{Door, Language};
use crate::server::app::App;
use crate::server::grpc;

/// How long the system is given after a failure to take a connection, and how often an ending server
/// looks whether anybody is still there.
const BREATH: Duration = Duration::from_millis(20);

/// Bytes that a connection over HTTP keeps of what its client sends and has not been understood yet, so
/// the longest head: what bodies take is counted elsewhere.
const MOST_HEAD: usize = 32 << 10;

/// A connection's way in.
struct Entering {
    app: Arc<App>,
    door: Arc<Door>,
    router: Router,
    watcher: Watcher,
    /// Its place among those that may be open.
    _place: OwnedSemaphorePermit,
}

/// Serves `router` on what `listener` takes in until `end` comes, then lets what is under way end.
pub(in crate::server) async fn serve(
    (app, door): (Arc<App>, Arc<Door>),
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(app.limits.connections));
    let take_in = async || {
        loop {
            // Who finds no place waits in the system's queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let stream = take(&listener).await;
            let entering = Entering {
                app: Arc::clone(&app),
                door: Arc::clone(&door),
                router: router.clone(),
                watcher: graceful.watcher(),
                _place: place,
            };
            tokio::spawn(entering.enter(stream));
        }
    };
    tokio::select! {
        () = take_in() => {}
        () = end => {}
    }
    app.end();
    // Whoever asks is told that the server is not ready; who has not heard of it yet is answered.
    let nobody_left = async {
        loop {
            tokio::time::sleep(BREATH).await;
            if graceful.count() == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = take_in() => {}
        () = nobody_left => {}
        () = tokio::time::sleep(app.limits.drain) => {}
    }
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

impl Entering {
    async fn enter(self, stream: TcpStream) {
        let stream = Patient::new(stream, self.app.limits.arrival);
        let _counted = self.app.registry.metrics().connection();
        let Some(tls) = &self.door.tls else { return self.converse(stream).await };
        let greeting = tls.acceptor().accept(stream);
        match tokio::time::timeout(self.app.limits.arrival, greeting).await {
            Ok(Ok(stream)) => self.converse(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client cannot agree on TLS"),
            Err(_) => tracing::debug!("a client does not begin with TLS in time"),
        }
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let ended = match self.door.language {
            Language::Http => self.converse_http(stream).await,
            Language::Grpc => grpc::converse(&self.app, self.router, stream).await,
        };
        // A connection that breaks is its client's affair.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }

    async fn converse_http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    ) -> hyper::Result<()> {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.app.limits.arrival)
            .max_buf_size(MOST_HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
        self.watcher.watch(connection).await
    }
}
