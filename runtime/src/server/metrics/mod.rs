//! What is counted for Prometheus.

mod audit;
mod process;
mod triton;
mod watch;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry as Collection;

use self::audit::AuditMeters;
use self::watch::WatchMeters;
use super::ServeError;
use super::app::{App, Route};
use super::registry;
use super::statistics::Took;
use super::watch::{DRAWS, Seen};

/// The model and its version.
type Labels = [(&'static str, String); 2];
/// The model, its version, and what became of a request.
type Outcome = [(&'static str, String); 3];

/// The bounds of times, in seconds: a small network on one core to a large one that had to wait.
const SECONDS: [f64; 14] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// The bounds of the number of images in a run.
const IMAGES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The series of a server.
#[derive(Debug)]
pub struct Metrics {
    collection: Collection,
    requests: Family<Outcome, Counter>,
    request: Family<Labels, Histogram, fn() -> Histogram>,
    queue: Family<Labels, Histogram, fn() -> Histogram>,
    compute: Family<Labels, Histogram, fn() -> Histogram>,
    batch: Family<Labels, Histogram, fn() -> Histogram>,
    images: Family<Labels, Counter>,
    together: Family<Labels, Counter>,
    waiting: Family<Labels, Gauge>,
    info: Family<Outcome, Gauge>,
    ready: Gauge,
    audit: AuditMeters,
    watch: WatchMeters,
    busy: Gauge,
    connections: Gauge,
    /// Whether Triton's names are written too.
    names_of_triton: bool,
}

/// The series of one version of a model.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    labels: Labels,
    requests: Family<Outcome, Counter>,
    request: Histogram,
    queue: Histogram,
    compute: Histogram,
    batch: Histogram,
    images: Counter,
    together: Counter,
    watched: Counter,
    unstable: Counter,
    copies: Counter,
}

impl Metrics {
    /// Nothing counted yet; `names_of_triton` adds the names that Triton's users know.
    pub fn new(names_of_triton: bool) -> Arc<Self> {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let images: fn() -> Histogram = || Histogram::new(IMAGES);
        let mut metrics = Self {
            collection: Collection::default(),
            requests: Family::default(),
            request: Family::new_with_constructor(seconds),
            queue: Family::new_with_constructor(seconds),
            compute: Family::new_with_constructor(seconds),
            batch: Family::new_with_constructor(images),
            images: Family::default(),
            together: Family::default(),
            waiting: Family::default(),
            info: Family::default(),
            ready: Gauge::default(),
            audit: AuditMeters::default(),
            watch: WatchMeters::default(),
            busy: Gauge::default(),
            connections: Gauge::default(),
            names_of_triton,
        };
        metrics.register();
        Arc::new(metrics)
    }

    fn register(&mut self) {
        let to = &mut self.collection;
        to.register("rift_requests", "Inference requests by outcome", self.requests.clone());
        to.register("rift_images", "Images that went through the model", self.images.clone());
        let of_request = "From a request's place in the queue to its logits";
        to.register("rift_request_seconds", of_request, self.request.clone());
        to.register("rift_queue_seconds", "Waiting for a core", self.queue.clone());
        to.register("rift_compute_seconds", "Runs of the model", self.compute.clone());
        to.register("rift_batch_images", "Images in a run", self.batch.clone());
        let together = "Runs on several threads together";
        to.register("rift_runs_together", together, self.together.clone());
        to.register("rift_queue_requests", "Requests that wait", self.waiting.clone());
        to.register("rift_model_info", "The file that is served", self.info.clone());
        to.register("rift_ready", "Whether the server is ready", self.ready.clone());
        self.audit.register(to);
        self.watch.register(to);
        to.register("rift_busy_cores", "Cores that compute", self.busy.clone());
        to.register("rift_connections", "Open connections", self.connections.clone());
    }

    /// The series of a version of a model.
    pub(super) fn meters(&self, name: &str, version: u64) -> Meters {
        let labels = [("model", name.to_owned()), ("version", version.to_string())];
        Meters {
            requests: self.requests.clone(),
            request: self.request.get_or_create_owned(&labels),
            queue: self.queue.get_or_create_owned(&labels),
            compute: self.compute.get_or_create_owned(&labels),
            batch: self.batch.get_or_create_owned(&labels),
            images: self.images.get_or_create_owned(&labels),
            together: self.together.get_or_create_owned(&labels),
            watched: self.watch.watched.get_or_create_owned(&labels),
            unstable: self.watch.unstable.get_or_create_owned(&labels),
            copies: self.watch.copies.get_or_create_owned(&labels),
            labels,
        }
    }

    /// A connection that is counted until the guard is dropped.
    pub(super) fn connection(&self) -> impl Drop + Send + 'static {
        struct Open(Gauge);
        impl Drop for Open {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.connections.inc();
        Open(self.connections.clone())
    }

    /// Everything in Prometheus' text format.
    fn text(&self, app: &App) -> Result<String, std::fmt::Error> {
        self.waiting.clear();
        self.info.clear();
        self.watch.clear();
        let index = app.registry.index();
        for listed in &index {
            let registry::State::Ready(served) = &listed.state else { continue };
            let version = listed.version.to_string();
            let labels = [("model", listed.name.clone()), ("version", version.clone())];
            self.waiting.get_or_create(&labels).set(served.waiting() as i64);
            self.watch.set(&labels, served);
            let digest = served.classifier().digest().to_string();
            let sha256 = digest.trim_start_matches("sha256:").to_owned();
            let labels = [("model", listed.name.clone()), ("version", version), ("sha256", sha256)];
            self.info.get_or_create(&labels).set(1);
        }
        self.audit.set(app.registry.audits());
        self.busy.set(app.registry.busy() as i64);
        self.ready.set(i64::from(app.is_ready().is_ok()));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.collection)?;
        if let Some(bytes) = process::resident_memory() {
            let name = "process_resident_memory_bytes";
            writeln!(text, "# HELP {name} Memory that is resident.\n# TYPE {name} gauge")?;
            writeln!(text, "{name} {bytes}")?;
        }
        if self.names_of_triton {
            triton::write(&mut text, &index)?;
        }
        Ok(text)
    }
}

impl Meters {
    /// A run for requests that had waited so long each.
    pub(super) fn ran(&self, images: usize, queued: &[Duration], took: Took) {
        let infer = took.infer.as_secs_f64();
        self.compute.observe(infer);
        self.batch.observe(images as f64);
        self.images.inc_by(images as u64);
        let around = (took.input + took.output).as_secs_f64();
        for queued in queued {
            let queued = queued.as_secs_f64();
            self.queue.observe(queued);
            self.request.observe(queued + around + infer);
        }
    }

    /// The run was on several threads together.
    pub(super) fn ran_together(&self) {
        self.together.inc();
    }

    /// Images that were watched.
    pub(super) fn saw(&self, seen: &[Seen]) {
        self.watched.inc_by(seen.len() as u64);
        self.copies.inc_by((seen.len() * DRAWS) as u64);
        let unstable = seen.iter().filter(|seen| seen.unstable == Some(true)).count();
        self.unstable.inc_by(unstable as u64);
    }

    /// A request that was answered so.
    pub(super) fn ended<T>(&self, outcome: &Result<T, ServeError>) {
        let outcome = match outcome {
            Ok(_) => "success",
            Err(ServeError::Busy { .. }) => "overloaded",
            Err(ServeError::Deadline { .. }) => "deadline",
            Err(ServeError::Unavailable { .. }) => "unavailable",
            Err(ServeError::Failed(_) | ServeError::NotFinite | ServeError::Internal) => "failed",
            Err(_) => "invalid",
        };
        self.count(outcome);
    }

    /// A request whose client has gone.
    pub(super) fn cancelled(&self) {
        self.count("cancelled");
    }

    fn count(&self, outcome: &str) {
        let [model, version] = self.labels.clone();
        self.requests.get_or_create(&[model, version, ("outcome", outcome.to_owned())]).inc();
    }
}

/// `GET /metrics`
pub(super) fn routes() -> Vec<Route> {
    vec![("/metrics", get(metrics))]
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.registry.metrics().text(&app) {
        Ok(text) => {
            let kind = HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
