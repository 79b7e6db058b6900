//! A thread that owns a session and runs what waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ServeError;
use super::schedule::Queue;
use super::statistics::{Statistics, Took};
use super::ticket::{Answer, Job, Run};
use crate::session::{Runner, Stop};

/// What a worker needs.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) queue: Arc<Queue>,
    pub(super) statistics: Arc<Statistics>,
    pub(super) runner: Runner,
}

impl Station {
    /// Works until the queue is closed and empty.
    pub(super) fn work(mut self) {
        let (mut batch, mut logits, mut queued) = (Vec::new(), Vec::new(), Vec::new());
        let mut finished = None;
        loop {
            self.queue.next(finished.take(), &mut batch);
            if batch.is_empty() {
                return;
            }
            let started = Instant::now();
            logits.clear();
            queued.clear();
            self.answer(&mut batch, (&mut logits, &mut queued), started);
            finished = Some(started.elapsed());
        }
    }

    fn answer(
        &mut self,
        batch: &mut Vec<Job>,
        (logits, queued): (&mut Vec<f32>, &mut Vec<Duration>),
        started: Instant,
    ) {
        let stop = match Stop::new() {
            Ok(stop) => stop,
            Err(error) => return fail(batch, &ServeError::Failed(Arc::new(error))),
        };
        let run = Run::new(stop.clone());
        batch.retain(|job| job.enter(&run));
        run.leave();
        if batch.is_empty() {
            return;
        }
        let images: usize = batch.iter().map(|job| job.n).sum();
        #[cfg(feature = "otel")]
        for job in &mut *batch {
            job.stage.run(images);
        }
        for job in &*batch {
            self.runner.push(&job.images);
            queued.push(started - job.queued);
        }
        let begun = Instant::now();
        // A panic in here must not cost the model a worker.
        let ran = catch_unwind(AssertUnwindSafe(|| self.runner.run(&stop, logits)));
        let ended = Instant::now();
        match ran {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return fail(batch, &ServeError::Failed(Arc::new(error))),
            Err(_) => return fail(batch, &ServeError::Internal),
        }
        let classes = logits.len() / images.max(1);
        let mut rows = logits.as_slice();
        let (mut answers, computed) = (Vec::with_capacity(batch.len()), ended - begun);
        for (job, queued) in batch.iter().zip(&*queued) {
            let (own, others) = rows.split_at(job.n * classes);
            rows = others;
            answers.push(Answer { logits: own.to_vec(), queued: *queued, computed });
        }
        // Counted first: who has an answer finds it counted.
        let took = Took { input: begun - started, infer: computed, output: ended.elapsed() };
        self.statistics.ran(images, queued, took);
        for (job, answer) in batch.drain(..).zip(answers) {
            // A run ends before the requests that it answers.
            #[cfg(feature = "otel")]
            drop(job.stage);
            // Who has gone needs none.
            let _ = job.answer.send(Ok(answer));
        }
    }
}

fn fail(batch: &mut Vec<Job>, error: &ServeError) {
    for job in batch.drain(..) {
        let _ = job.answer.send(Err(error.clone()));
    }
}
