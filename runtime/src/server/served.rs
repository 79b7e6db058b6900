//! One version of a model as it is served: its queue, its workers, what it has done.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::body::Bytes;

use super::ServeError;
use super::metrics::Meters;
use super::registry::Refused;
use super::schedule::{Queue, Refusal, Schedule};
use super::statistics::{Counts, Statistics};
use super::ticket::{Answer, Job};
use super::together::Together;
use super::watch::{Seen, Watch, Watching};
use super::worker::Station;
use crate::session::{Classifier, Packer, Runner, SessionError, Stop};

/// How a model is served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Serving {
    /// Workers of each model, and the runs of all models at once.
    pub threads: usize,
    /// Images in a run.
    pub batch: usize,
    /// Threads that compute together what comes when there is no other work; 1: none do.
    pub together: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// How inputs are watched.
    pub watching: Watching,
}

/// A version of a model; its workers end when nobody holds it any more.
#[derive(Debug)]
pub struct Served {
    name: String,
    version: u64,
    classifier: Arc<Classifier>,
    packer: Packer,
    serving: Serving,
    queue: Arc<Queue>,
    statistics: Arc<Statistics>,
    watch: Watch,
    together: Option<Arc<Together>>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Served {
    /// Starts workers of `classifier`, warm ones.
    pub(super) fn start(
        (name, version): (String, u64),
        (classifier, meters): (Classifier, Meters),
        serving: Serving,
        schedule: &Arc<Schedule>,
    ) -> Result<Arc<Self>, Refused> {
        let largest = classifier.batch(serving.batch);
        let mut first = Runner::new(&classifier, largest)?;
        warm(&mut first, &classifier, largest)?;
        let together = match serving.together {
            0 | 1 => None,
            threads => Together::new(&classifier, (largest, threads), &mut first)?.map(Arc::new),
        };
        let served = Arc::new(Self {
            queue: Arc::new(schedule.queue(serving.queue, largest)),
            packer: Packer::new(&classifier),
            statistics: Arc::new(Statistics::new(meters)),
            watch: Watch::new(serving.watching, &classifier),
            together,
            workers: Mutex::default(),
            name,
            version,
            classifier: Arc::new(classifier),
            serving,
        });
        served.work(move || Ok(first))?;
        // One worker can answer already; the others' sessions are no reason to wait.
        for _ in 1..serving.threads {
            let classifier = Arc::clone(&served.classifier);
            served.work(move || Runner::new(&classifier, largest))?;
        }
        Ok(served)
    }

    /// Starts a worker, which makes its session itself.
    fn work(
        &self,
        make: impl FnOnce() -> Result<Runner, SessionError> + Send + 'static,
    ) -> Result<(), Refused> {
        let (queue, statistics) = (Arc::clone(&self.queue), Arc::clone(&self.statistics));
        let together = self.together.clone();
        let work = move || match make() {
            Ok(runner) => Station { queue, statistics, runner, together }.work(),
            Err(error) => tracing::error!(%error, "a worker is missing"),
        };
        let thread = std::thread::Builder::new()
            .name(format!("rift {}", self.name))
            .spawn(work)
            .map_err(Refused::Thread)?;
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// The logits of `n` images that lie as the model's input does.
    ///
    /// Dropping the future gives the images up; a run that nobody waits for any more is ended.
    ///
    /// # Errors
    /// If the queue is full, the model is being unloaded or fails, or `within` passes.
    pub async fn infer(
        &self,
        images: Bytes,
        n: usize,
        within: Duration,
    ) -> Result<Answer, ServeError> {
        let started = Instant::now();
        let unanswered = self.statistics.expecting();
        let (job, ticket) = Job::new(images, n, started + within);
        let answer = match self.queue.submit(job) {
            Ok(()) => ticket.wait(within).await,
            Err(Refusal::Full) => Err(self.busy()),
            Err(Refusal::Closed) => Err(ServeError::Unavailable {
                what: format!("model `{}` is being unloaded", self.name),
            }),
        };
        unanswered.ended(&answer);
        answer
    }

    /// Refuses at the door what the queue would refuse.
    ///
    /// # Errors
    /// If the queue is full.
    pub fn admit(&self) -> Result<(), ServeError> {
        if self.queue.is_full() {
            return self.counting(Err(self.busy()));
        }
        Ok(())
    }

    /// Counts a request that comes to nothing before it is run.
    pub(super) fn counting<T>(&self, outcome: Result<T, ServeError>) -> Result<T, ServeError> {
        if outcome.is_err() {
            self.statistics.expecting().ended(&outcome);
        }
        outcome
    }

    /// Counts images that were watched.
    pub(super) fn saw(&self, seen: &[Seen]) {
        self.statistics.saw(seen);
    }

    fn busy(&self) -> ServeError {
        ServeError::Busy { model: self.name.clone() }
    }

    /// The name under which it is served.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The model.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// How pixels become the model's input.
    pub fn packer(&self) -> &Packer {
        &self.packer
    }

    /// How it is served.
    pub fn serving(&self) -> Serving {
        self.serving
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        self.statistics.counts()
    }

    /// What watches its inputs.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes no more requests; those that wait are still answered.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// Waits for the workers of a [closed](Self::close) model.
    pub(super) fn join(&self) {
        let workers =
            std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!(model = self.name, "a worker has panicked");
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The first runs allocate: here, not in a client's time.
fn warm(runner: &mut Runner, classifier: &Classifier, largest: usize) -> Result<(), SessionError> {
    let bytes = classifier.dims().iter().product::<usize>() * classifier.element().size();
    let blank = vec![0; bytes * largest];
    let mut logits = Vec::new();
    for images in [1, largest] {
        runner.push(&blank[..bytes * images]);
        runner.run(&Stop::new()?, &mut logits)?;
    }
    Ok(())
}
