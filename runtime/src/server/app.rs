//! What every request sees.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use axum::routing::MethodRouter;
use tokio::sync::{Semaphore, watch};

use super::demo::{self, Demo};
use super::limits::Limits;
use super::registry::{Refused, Registry};
use super::repository::Repository;
use super::served::Served;
use super::{ServeError, body, classify, gate, kserve, metrics, openapi, web};

/// What every request sees.
#[derive(Debug)]
pub struct App {
    /// The models.
    pub registry: Registry,
    /// What is too much.
    pub limits: Limits,
    /// The KiB that bodies may take.
    pub(super) room: Arc<Semaphore>,
    /// Who loads a model now: one at a time, so that the threads where pictures are decoded are left.
    pub(super) loading: Arc<Semaphore>,
    /// Attacks on demand.
    pub(super) demo: Demo,
    repository: Option<Mutex<Repository>>,
    /// Whether what is served of the repository has been looked at.
    is_open: AtomicBool,
    is_ending: watch::Sender<bool>,
}

impl App {
    /// What requests see of `registry`, and what they and [`poll`](Self::poll) fill it from.
    pub fn new(registry: Registry, repository: Option<Repository>, limits: Limits) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(limits.bodies.div_ceil(1024)));
        Arc::new(Self {
            registry,
            demo: Demo::new(limits.attacks),
            limits,
            room,
            loading: Arc::new(Semaphore::new(1)),
            is_open: AtomicBool::new(repository.is_none()),
            repository: repository.map(Mutex::new),
            is_ending: watch::Sender::new(false),
        })
    }

    /// Opens the model `name` anew, from the repository where it has it; blocks as long as that takes.
    ///
    /// # Errors
    /// Why it is not served as it should be.
    pub fn load(&self, name: &str) -> Result<(), Refused> {
        if let Some(repository) = &self.repository {
            let mut repository = repository.lock().unwrap_or_else(PoisonError::into_inner);
            if repository.has(name) {
                return repository.load(name, &self.registry).map_err(Refused::Repository);
            }
        }
        self.registry.reload(name)
    }

    /// Serves what the repository holds by now; the first time, whatever there is.
    ///
    /// # Errors
    /// If the repository cannot be read; what is served is served on.
    pub fn poll(&self) -> std::io::Result<()> {
        let Some(repository) = &self.repository else { return Ok(()) };
        let mut repository = repository.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_open.load(Ordering::Acquire) {
            return repository.poll(&self.registry);
        }
        repository.open(&self.registry)?;
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    /// The model that a request asks for, if its queue has room.
    ///
    /// # Errors
    /// If there is no such model, it is not ready or overloaded.
    pub fn admit(&self, model: &str, version: Option<&str>) -> Result<Arc<Served>, ServeError> {
        let served = self.registry.find(model, version)?;
        #[cfg(feature = "otel")]
        super::traces::model(&served);
        served.admit()?;
        Ok(served)
    }

    /// Why the server does not want requests, if it does not.
    ///
    /// # Errors
    /// The reason.
    pub fn is_ready(&self) -> Result<(), String> {
        if self.is_ending() {
            return Err("the server is being shut down".to_owned());
        }
        if !self.is_open.load(Ordering::Acquire) {
            return Err("the model repository is being opened".to_owned());
        }
        self.registry.is_ready()
    }

    /// Whether the start is over: all models are ready, or all have been tried and one at least is
    /// served.
    pub(super) fn is_up(&self) -> bool {
        self.is_ready().is_ok()
            || (self.is_open.load(Ordering::Acquire) && self.registry.is_settled())
    }

    /// Whether the server has been told to end.
    pub fn is_ending(&self) -> bool {
        *self.is_ending.borrow()
    }

    /// From now on the server is not ready.
    pub(super) fn end(&self) {
        self.is_ending.send_replace(true);
    }

    /// Waits until the server is told to end.
    pub(super) async fn ended(&self) {
        // The sender is here: it is never gone.
        let _ = self.is_ending.subscribe().wait_for(|is_ending| *is_ending).await;
    }

    /// Waits until it takes no more requests either.
    pub(super) async fn closing(&self) {
        self.ended().await;
        tokio::time::sleep(self.limits.drain).await;
    }
}

/// A path and what answers there.
pub(super) type Route = (&'static str, MethodRouter<Arc<App>>);

/// Every path that the server has.
pub(super) fn routes() -> Vec<Route> {
    [
        kserve::routes(),
        classify::routes(),
        demo::routes(),
        gate::routes(),
        metrics::routes(),
        openapi::routes(),
        web::routes(),
    ]
    .concat()
}

/// The whole server, as one service.
pub(super) fn router(app: &Arc<App>) -> Router {
    let add = |router: Router<Arc<App>>, (path, methods): Route| router.route(path, methods);
    routes()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(nothing)
        .method_not_allowed_fallback(no_method)
        .with_state(Arc::clone(app))
}

async fn nothing(State(app): State<Arc<App>>, body: Body) -> ServeError {
    body::discard(&app, body).await;
    ServeError::NotFound { what: "there is nothing at this path".to_owned() }
}

async fn no_method(State(app): State<Arc<App>>, body: Body) -> ServeError {
    body::discard(&app, body).await;
    ServeError::Method
}

/// The model that a path names: `/v2/models/{model}` and maybe `/versions/{version}`.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) model: String,
    pub(super) version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ServeError> {
        let bad = |_| ServeError::invalid("the path is not valid UTF-8");
        let parameters = RawPathParams::from_request_parts(parts, state).await.map_err(bad)?;
        let of = |name: &str| {
            let found = parameters.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_owned())
        };
        Ok(Self { model: of("model").unwrap_or_default(), version: of("version") })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::task::{spawn_blocking, yield_now};

    use super::*;
    use crate::server::kserve::repository::opened;
    use crate::server::{Serving, Watching};
    use crate::session::Opening;

    #[test]
    fn loads_that_take_long_leave_a_thread_for_pictures() {
        let watching = Watching::default();
        let serving = Serving { threads: 1, batch: 2, together: 1, queue: 4, watching };
        let registry = Registry::new(serving, Opening::default());
        let app = App::new(registry, Some(Repository::new(Path::new("."))), Limits::default());
        // As many threads as a server of one thread has.
        let mut building = tokio::runtime::Builder::new_current_thread();
        let runtime = building.max_blocking_threads(2).enable_time().build().unwrap();
        let long = app.repository.as_ref().unwrap().lock().unwrap();
        runtime.block_on(async {
            let loads: Vec<_> =
                (0..3).map(|_| tokio::spawn(opened(Arc::clone(&app), "m".to_owned()))).collect();
            yield_now().await;
            let picture = spawn_blocking(|| ());
            tokio::time::timeout(Duration::from_secs(10), picture).await.unwrap().unwrap();
            assert!(loads.iter().all(|load| !load.is_finished()));
            drop(long);
            for load in loads {
                assert!(load.await.unwrap().is_err(), "there is no model `m`");
            }
        });
        app.registry.close();
    }
}
