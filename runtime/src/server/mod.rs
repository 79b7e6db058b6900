//! The server: the Open Inference Protocol over HTTP, in front of the models of a [`Registry`].
//!
//! Connections and protocol are asynchronous; the models run on threads of their own, one a core,
//! each with a session ([`Served`]). Between the two lies a queue that makes batches of whatever waits
//! when a core becomes free. A request that nobody waits for any more is dropped, and a run of such
//! requests ended.

mod app;
mod body;
mod door;
mod error;
mod kserve;
mod limits;
mod pictures;
mod registry;
pub mod repository;
mod schedule;
pub mod screen;
mod served;
mod statistics;
mod ticket;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

pub use app::App;
pub use error::ServeError;
pub use limits::Limits;
pub use registry::{Condition, Listed, Refused, Registry, Source, State, name_of};
pub use served::{Served, Serving};
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
    /// The system gives no threads.
    #[error("cannot start the server")]
    Runtime(#[source] io::Error),
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

impl Server {
    /// Listens on `address`, on any free port where that is 0.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn bind(address: SocketAddr, app: Arc<App>) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, app })
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
        let Self { listener, address, app } = self;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)
                .map_err(|source| StartError::Listen { address, source })?;
            let router = app::router(&app);
            door::listener::serve(Arc::clone(&app), listener, router, end).await;
            Ok(())
        })?;
        app.registry.close();
        runtime.shutdown_background();
        Ok(())
    }
}
