//! A request that waits: who stops waiting takes its work along.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::oneshot;

use super::ServeError;
#[cfg(feature = "otel")]
use super::traces::Stage;
use crate::session::Stop;

/// What a run gives one request.
#[derive(Debug)]
pub struct Answer {
    /// The logits, `N × classes`, row by row.
    pub logits: Vec<f32>,
    /// How long the request waited for its turn.
    pub queued: Duration,
    /// How long the model ran.
    pub computed: Duration,
}

/// A request's images on their way to a worker.
#[derive(Debug)]
pub(super) struct Job {
    /// Whole images, as the model's input holds them.
    pub(super) images: Bytes,
    /// Their number.
    pub(super) n: usize,
    pub(super) queued: Instant,
    deadline: Instant,
    slot: Arc<Slot>,
    pub(super) answer: oneshot::Sender<Result<Answer, ServeError>>,
    #[cfg(feature = "otel")]
    pub(super) stage: Stage,
}

/// A run of several requests, which ends when nobody waits for it any more.
#[derive(Debug)]
pub(super) struct Run {
    waiting: AtomicUsize,
    stop: Stop,
}

/// The side of a request that waits for the answer.
#[derive(Debug)]
pub(super) struct Ticket {
    answer: oneshot::Receiver<Result<Answer, ServeError>>,
    slot: Arc<Slot>,
    deadline: Instant,
}

#[derive(Debug)]
struct Slot(Mutex<Phase>);

#[derive(Debug)]
enum Phase {
    Queued,
    Running(Arc<Run>),
    Gone,
}

impl Run {
    /// A run that its worker holds until every request has [entered](Job::enter) it.
    pub(super) fn new(stop: Stop) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicUsize::new(1), stop })
    }

    /// One fewer waits; the last one stops the run.
    pub(super) fn leave(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.stop.stop();
        }
    }
}

impl Job {
    /// The two sides of a request.
    pub(super) fn new(images: Bytes, n: usize, deadline: Instant) -> (Self, Ticket) {
        let (sender, receiver) = oneshot::channel();
        let slot = Arc::new(Slot(Mutex::new(Phase::Queued)));
        let ticket = Ticket { answer: receiver, slot: Arc::clone(&slot), deadline };
        let job = Self {
            images,
            n,
            queued: Instant::now(),
            deadline,
            slot,
            answer: sender,
            #[cfg(feature = "otel")]
            stage: Stage::queue(),
        };
        (job, ticket)
    }

    /// Whether nobody waits any more.
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.answer.is_closed() || self.deadline <= now
    }

    /// Takes part in `run`, unless nobody waits any more.
    pub(super) fn enter(&self, run: &Arc<Run>) -> bool {
        let mut phase = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*phase, Phase::Gone) {
            return false;
        }
        run.waiting.fetch_add(1, Ordering::AcqRel);
        *phase = Phase::Running(Arc::clone(run));
        true
    }
}

impl Ticket {
    /// The answer, or that it does not come in time.
    pub(super) async fn wait(mut self, given: Duration) -> Result<Answer, ServeError> {
        let answer = tokio::time::timeout_at(self.deadline.into(), &mut self.answer).await;
        let milliseconds = u64::try_from(given.as_millis()).unwrap_or(u64::MAX);
        match answer {
            Ok(Ok(answer)) => answer,
            // The worker drops what it finds too late.
            Ok(Err(_)) if self.deadline <= Instant::now() => {
                Err(ServeError::Deadline { milliseconds })
            }
            Ok(Err(_)) => {
                Err(ServeError::Unavailable { what: "the model has been unloaded".to_owned() })
            }
            Err(_) => Err(ServeError::Deadline { milliseconds }),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut phase = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Phase::Running(run) = std::mem::replace(&mut *phase, Phase::Gone) {
            run.leave();
        }
    }
}
