//! The server: the Open Inference Protocol over HTTP, in front of the models of a [`Registry`].
//!
//! Connections and protocol are asynchronous; the models run on threads of their own, one a core,
//! each with a session ([`Served`]). Between the two lies a queue that makes batches of whatever waits
//! when a core becomes free. A request that nobody waits for any more is dropped, and a run of such
//! requests ended.

mod app;
mod body;
mod classify;
mod door;
mod error;
mod gate;
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
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use door::{Door, guard, listener};

pub use app::App;
pub use door::{DoorError, Entrance, TlsFiles};
pub use error::ServeError;
pub use gate::{Audited, Audits, Gate, Repetition, Terms};
#[doc(hidden)]
pub use kserve::images_in;
pub use limits::Limits;
pub use metrics::Metrics;
pub use registry::{Condition, Listed, Refused, Registry, Source, State, name_of};
pub use served::{Served, Serving};
pub use signatory::{Signatory, UnsignedError};
pub use statistics::{BatchStages, Counts, Span, Stages};
pub use ticket::Answer;

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
    listener: std::net::TcpListener,
    address: SocketAddr,
    door: Arc<Door>,
    app: Arc<App>,
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
        let door = Arc::new(Door::open(address, entrance)?);
        let failed = |source| StartError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, door, app })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        let Self { listener, address, door, app } = self;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)
                .map_err(|source| StartError::Listen { address, source })?;
            let guard =
                middleware::from_fn_with_state((Arc::clone(&door), Arc::clone(&app)), guard);
            let router = app::router(&app).layer(guard);
            let follow = tokio::spawn({
                let door = Arc::clone(&door);
                async move { door.follow().await }
            });
            let manager = notify::Manager::of_environment().map(Arc::new);
            let report = manager.clone().map(|manager| {
                let app = Arc::clone(&app);
                tokio::spawn(async move { manager.follow(&app).await })
            });
            let end = async {
                end.await;
                manager.inspect(|manager| manager.stopping());
            };
            listener::serve((Arc::clone(&app), door), listener, router, end).await;
            follow.abort();
            report.inspect(tokio::task::JoinHandle::abort);
            Ok::<_, StartError>(())
        })?;
        // Who still waits is cut off, so that no worker works for it.
        runtime.shutdown_timeout(Duration::from_secs(1));
        app.registry.close();
        Ok(())
    }
}
