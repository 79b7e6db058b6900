//! The server: the Open Inference Protocol over HTTP and gRPC, in front of the models of a [`Registry`].
//!
//! Connections and protocol are asynchronous; the models run on threads of their own, one a core,
//! each with a session ([`Served`]). Between the two lies a queue that makes batches of whatever waits
//! when a core becomes free. A request that nobody waits for any more is dropped, and a run of such
//! requests ended.

mod app;
mod body;
mod classify;
mod demo;
mod door;
mod error;
mod gate;
mod grpc;
mod kserve;
mod limits;
mod metrics;
mod notify;
mod openapi;
mod pictures;
mod registry;
pub mod repository;
mod schedule;
pub mod screen;
mod served;
mod signatory;
mod statistics;
mod ticket;
mod together;
#[cfg(feature = "otel")]
mod traces;
mod watch;
mod web;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use door::{Door, Language, guard, listener};

pub use app::App;
pub use door::{DoorError, Entrance, TlsFiles};
pub use error::ServeError;
pub use gate::{Audited, Audits, Gate, LEAST_IMAGES, Repetition, Terms};
#[doc(hidden)]
pub use grpc::proto as grpc_messages;
#[doc(hidden)]
pub use kserve::images_in;
pub use limits::Limits;
pub use metrics::Metrics;
pub use registry::{Condition, Listed, Refused, Registry, Source, State, Wish, name_of};
pub use served::{Served, Serving};
pub use signatory::{Signatory, UnsignedError};
pub use statistics::{BatchStages, Counts, Span, Stages};
pub use ticket::Answer;
#[cfg(feature = "otel")]
pub use traces::{Traces, TracesError};
pub use watch::Watching;

/// A server that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The door cannot be built.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The system gives no threads.
    #[error("cannot start the server")]
    Runtime(#[source] io::Error),
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    http: Doorway,
    grpc: Option<Doorway>,
    app: Arc<App>,
    #[cfg(feature = "otel")]
    tracer: Option<opentelemetry_sdk::trace::SdkTracer>,
}

/// A door, and where it is.
#[derive(Debug)]
struct Doorway {
    listener: std::net::TcpListener,
    address: SocketAddr,
    door: Arc<Door>,
}

impl Server {
    /// Listens on `address`, on any free port where that is 0, for those whom `entrance` lets in.
    ///
    /// # Errors
    /// If the address cannot be had, or would let in more than the entrance allows.
    pub fn bind(
        address: SocketAddr,
        entrance: &Entrance,
        app: Arc<App>,
    ) -> Result<Self, StartError> {
        let http = Doorway::open(address, entrance, Language::Http)?;
        Ok(Self {
            http,
            grpc: None,
            app,
            #[cfg(feature = "otel")]
            tracer: None,
        })
    }

    /// Listens on `address` too, for those who speak gRPC.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn with_grpc(self, address: SocketAddr, entrance: &Entrance) -> Result<Self, StartError> {
        let grpc = Some(Doorway::open(address, entrance, Language::Grpc)?);
        Ok(Self { grpc, ..self })
    }

    /// Sends traces of what it answers, if there are `traces`.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn with_traces(self, traces: Option<&Traces>) -> Self {
        Self { tracer: traces.map(Traces::tracer), ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.http.address
    }

    /// Where it listens for gRPC, if it does.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|doorway| doorway.address)
    }

    /// Answers until `end` comes, then lets what is under way end.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn run(self, end: impl Future<Output = ()>) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // Models run on threads of their own; these only pass requests on.
            .worker_threads(2)
            .max_blocking_threads(self.app.registry.serving().threads + 1)
            .thread_name("rift door")
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        #[cfg(feature = "otel")]
        let tracer = self.tracer;
        let Self { http, grpc, app, .. } = self;
        runtime.block_on(async {
            let guard =
                middleware::from_fn_with_state((Arc::clone(&http.door), Arc::clone(&app)), guard);
            let router = app::router(&app).layer(guard);
            #[cfg(feature = "otel")]
            let router = traces::requests(router, tracer.as_ref(), http.door.tls.is_some());
            let manager = notify::Manager::of_environment().map(Arc::new);
            let report = manager.clone().map(|manager| {
                let app = Arc::clone(&app);
                tokio::spawn(async move { manager.follow(&app).await })
            });
            let end = async {
                end.await;
                manager.inspect(|manager| manager.stopping());
            };
            let http = http.serve(&app, router, end);
            // The first door that is told to close says so to the app.
            let grpc = async {
                let Some(grpc) = grpc else { return Ok(()) };
                let router = grpc::router(&app, &grpc.door);
                #[cfg(feature = "otel")]
                let router = traces::calls(router, tracer.as_ref());
                grpc.serve(&app, router, app.ended()).await
            };
            let served = tokio::try_join!(http, grpc);
            report.inspect(tokio::task::JoinHandle::abort);
            served
        })?;
        // Who still waits is cut off, so that no worker works for it.
        runtime.shutdown_timeout(Duration::from_secs(1));
        app.registry.close();
        Ok(())
    }
}

impl Doorway {
    fn open(
        address: SocketAddr,
        entrance: &Entrance,
        language: Language,
    ) -> Result<Self, StartError> {
        let door = Arc::new(Door::open(address, entrance, language)?);
        let failed = |source| StartError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, door })
    }

    async fn serve(
        self,
        app: &Arc<App>,
        router: Router,
        end: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let Self { listener, address, door } = self;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| StartError::Listen { address, source })?;
        let follow = tokio::spawn({
            let door = Arc::clone(&door);
            async move { door.follow().await }
        });
        listener::serve((Arc::clone(app), door), listener, router, end).await;
        follow.abort();
        Ok(())
    }
}
