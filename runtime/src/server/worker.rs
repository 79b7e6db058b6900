//! A thread that owns a session and runs what waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServeError;
use super::schedule::Queue;
use super::statistics::{Statistics, Took};
use super::ticket::{Answer, Job, Run};
use super::together::Together;
use crate::session::{Runner, Stop};

/// What a worker needs.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) queue: Arc<Queue>,
    pub(super) statistics: Arc<Statistics>,
    pub(super) runner: Runner,
    /// What computes when there is no other work.
    pub(super) together: Option<Arc<Together>>,
}

impl Station {
    /// Works until the queue is closed and empty.
    pub(super) fn work(mut self) {
        let (mut batch, mut logits) = (Vec::new(), Vec::new());
        self.queue.offer(None);
        loop {
            let idle = self.queue.next(&mut batch);
            if batch.is_empty() {
                return;
            }
            let started = Instant::now();
            let answers = self.compute(&mut batch, idle, &mut logits, started);
            self.queue.offer(Some(started.elapsed()));
            send(&mut batch, answers);
        }
    }

    /// The answers of those of the batch that still wait; the others are taken out of it.
    fn compute(
        &mut self,
        batch: &mut Vec<Job>,
        idle: Option<Duration>,
        logits: &mut Vec<f32>,
        started: Instant,
    ) -> Result<Vec<Answer>, ServeError> {
        let stop = Stop::new().map_err(|error| ServeError::Failed(Arc::new(error)))?;
        let run = Run::new(stop.clone());
        batch.retain(|job| job.enter(&run));
        run.leave();
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let images: usize = batch.iter().map(|job| job.n).sum();
        #[cfg(feature = "otel")]
        for job in &mut *batch {
            job.stage.run(images);
        }
        let together = self.together.as_ref().zip(idle);
        let mut together = together.and_then(|(together, idle)| together.take(idle));
        let runner = together.as_deref_mut().unwrap_or(&mut self.runner);
        for job in &*batch {
            runner.push(&job.images);
        }
        logits.clear();
        let begun = Instant::now();
        // A panic in here must not cost the model a worker.
        let ran = catch_unwind(AssertUnwindSafe(|| runner.run(&stop, logits)));
        let ended = Instant::now();
        if together.take().is_some() {
            self.statistics.ran_together();
        }
        match ran {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ServeError::Failed(Arc::new(error))),
            Err(_) => return Err(ServeError::Internal),
        }
        let classes = logits.len() / images.max(1);
        let mut rows = logits.as_slice();
        let mut answers = Vec::with_capacity(batch.len());
        for job in &*batch {
            let (own, others) = rows.split_at(job.n * classes);
            rows = others;
            let (queued, computed) = (started - job.queued, ended - begun);
            answers.push(Answer { logits: own.to_vec(), queued, computed });
        }
        let took = Took { input: begun - started, infer: ended - begun, output: ended.elapsed() };
        // Counted first: who has an answer finds it counted.
        let queued: Vec<Duration> = answers.iter().map(|answer| answer.queued).collect();
        self.statistics.ran(images, &queued, took);
        Ok(answers)
    }
}

/// Gives everybody the answer, or all the error.
fn send(batch: &mut Vec<Job>, answers: Result<Vec<Answer>, ServeError>) {
    let mut answers = answers.map(Vec::into_iter);
    for job in batch.drain(..) {
        let answer = match &mut answers {
            Ok(answers) => answers.next().ok_or(ServeError::Internal),
            Err(error) => Err(error.clone()),
        };
        // A run ends before the requests that it answers.
        #[cfg(feature = "otel")]
        drop(job.stage);
        // Who has gone needs none.
        let _ = job.answer.send(answer);
    }
}
