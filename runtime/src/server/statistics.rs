//! What one version of a model has done, as the protocol's statistics extension counts it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::ServeError;
use super::metrics::Meters;
use super::watch::Seen;

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    /// How often.
    pub count: u64,
    /// Nanoseconds.
    pub ns: u64,
}

/// The parts of a request's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stages {
    /// Requests that were answered, from queue to answer.
    pub success: Span,
    /// Requests that were not.
    pub fail: Span,
    /// Waiting for a core.
    pub queue: Span,
    /// Putting images together.
    pub compute_input: Span,
    /// The model.
    pub compute_infer: Span,
    /// Taking logits apart.
    pub compute_output: Span,
    /// There is no cache.
    pub cache_hit: Span,
    /// There is no cache.
    pub cache_miss: Span,
}

/// The runs of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchStages {
    /// Images in a run.
    pub batch_size: usize,
    /// Putting images together.
    pub compute_input: Span,
    /// The model.
    pub compute_infer: Span,
    /// Taking logits apart.
    pub compute_output: Span,
}

/// Everything that is counted.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// When a request was last answered, in milliseconds since 1970.
    pub last_inference: u64,
    /// Images that went through the model.
    pub images: u64,
    /// Runs of the model.
    pub runs: u64,
    /// By the parts of a request's way.
    pub stages: Stages,
    /// By the size of a run.
    pub batches: BTreeMap<usize, BatchStages>,
}

/// How long the parts of a run took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    pub(super) input: Duration,
    pub(super) infer: Duration,
    pub(super) output: Duration,
}

/// [`Counts`] that are kept, and told to Prometheus.
#[derive(Debug)]
pub(super) struct Statistics {
    counts: Mutex<Counts>,
    meters: Meters,
}

/// A request that is counted as cancelled unless it [ends](Self::ended).
#[derive(Debug)]
pub(super) struct Expected<'a> {
    of: Option<&'a Statistics>,
    since: Instant,
}

impl Span {
    fn add(&mut self, count: u64, each: Duration) {
        self.count += count;
        self.ns += count * u64::try_from(each.as_nanos()).unwrap_or(0);
    }
}

impl Expected<'_> {
    /// The request ended so.
    pub(super) fn ended<T>(mut self, outcome: &Result<T, ServeError>) {
        let Some(statistics) = self.of.take() else { return };
        statistics.meters.ended(outcome);
        if outcome.is_err() {
            statistics.failed(self.since.elapsed());
        }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if let Some(statistics) = self.of.take() {
            statistics.meters.cancelled();
            statistics.failed(self.since.elapsed());
        }
    }
}

impl Statistics {
    /// Nothing yet.
    pub(super) fn new(meters: Meters) -> Self {
        Self { counts: Mutex::default(), meters }
    }

    /// A request begins.
    pub(super) fn expecting(&self) -> Expected<'_> {
        Expected { of: Some(self), since: Instant::now() }
    }

    /// A run of `images` images for requests that had waited so long each.
    pub(super) fn ran(&self, images: usize, queued: &[Duration], took: Took) {
        self.meters.ran(images, queued, took);
        let Took { input, infer, output } = took;
        let mut counts = self.lock();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        counts.last_inference = u64::try_from(now.as_millis()).unwrap_or(0);
        counts.images += images as u64;
        counts.runs += 1;
        let requests = queued.len() as u64;
        let stages = &mut counts.stages;
        for queued in queued {
            stages.queue.add(1, *queued);
            stages.success.add(1, *queued + input + infer + output);
        }
        stages.compute_input.add(requests, input);
        stages.compute_infer.add(requests, infer);
        stages.compute_output.add(requests, output);
        let batch = counts.batches.entry(images).or_default();
        batch.batch_size = images;
        batch.compute_input.add(1, input);
        batch.compute_infer.add(1, infer);
        batch.compute_output.add(1, output);
    }

    /// The run was on several threads together.
    pub(super) fn ran_together(&self) {
        self.meters.ran_together();
    }

    /// Images that were watched.
    pub(super) fn saw(&self, seen: &[Seen]) {
        self.meters.saw(seen);
    }

    fn failed(&self, after: Duration) {
        self.lock().stages.fail.add(1, after);
    }

    /// What was counted until now.
    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
