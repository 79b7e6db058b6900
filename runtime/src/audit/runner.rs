//! Asking the model, over all its workers.

use std::time::Instant;

use ndarray::{Array2, Axis};
use rift_models::artifact::Accuracy;
use rift_models::dataset::Dataset;

use super::{AuditError, Plan};
use crate::attack::oracle::{Oracle, prediction};
use crate::attack::pgd::{Outcome, Pgd, Queue, Samples};
use crate::session::spread;

/// The part of an audit that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The images as they are.
    Clean,
    /// The attack on those that are classified correctly.
    Attack,
}

/// How an audit gets on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A part begins, over so many images.
    Begin(Stage, usize),
    /// So many more of them are done.
    Done(usize),
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The logits of the images as they are, N × classes.
    pub logits: Array2<f32>,
    /// The predictions for the images as they are.
    pub predictions: Vec<usize>,
    /// What became of each image that was attacked, by index.
    pub outcomes: Vec<Outcome>,
    /// Images that are classified correctly as they are.
    pub clean: Accuracy,
    /// Images that are classified correctly whatever the attack tried.
    pub robust: Accuracy,
    /// Seconds that the attack took.
    pub seconds: f64,
}

impl Samples for Dataset {
    fn copy(&self, index: usize, out: &mut [f32]) {
        for (to, from) in out.iter_mut().zip(self.batch(index..index + 1)) {
            *to = from;
        }
    }

    fn label(&self, index: usize) -> usize {
        self.labels[index]
    }
}

/// Classifies all images, then attacks those that are classified correctly.
///
/// `progress` is told as images are done.
///
/// # Errors
/// If the attack makes no sense or the model fails.
pub fn measure<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    plan: &Plan,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Measured, AuditError> {
    let input = data.input();
    plan.attack.validate(input.iter().product())?;
    progress(Progress::Begin(Stage::Clean, data.len()));
    let logits = classify(oracles, data, plan, progress)?;
    let predictions: Vec<usize> = logits.rows().into_iter().map(|row| prediction(&row)).collect();
    let is_right = |index: &usize| predictions[*index] == data.labels[*index];
    let queue = Queue::new((0..data.len()).filter(is_right).collect());
    let right = queue.len();
    progress(Progress::Begin(Stage::Attack, right));
    let started = Instant::now();
    let pgd = Pgd { spec: &plan.attack, input, batch: plan.batch };
    let attack = |oracle: &mut O, _| {
        let mut outcomes = Vec::new();
        let result = pgd.run(oracle, data, &queue, |mut outcome| {
            if !plan.keep_images {
                outcome.image = Vec::new();
            }
            outcomes.push(outcome);
            progress(Progress::Done(1));
        });
        if result.is_err() {
            queue.close();
        }
        result.map(|()| outcomes)
    };
    // One piece of work a worker: the queue shares out the images.
    let workers = oracles.len();
    let mut outcomes = spread(oracles, workers, 1, attack).map_err(AuditError::Oracle)?.concat();
    outcomes.sort_by_key(|outcome| outcome.index);
    let broken = outcomes.iter().filter(|outcome| outcome.broken).count();
    Ok(Measured {
        logits,
        predictions,
        outcomes,
        clean: Accuracy::new(right, data.len()),
        robust: Accuracy::new(right - broken, data.len()),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn classify<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    plan: &Plan,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Array2<f32>, AuditError> {
    let parts = spread(oracles, data.len(), plan.batch, |oracle, rows| {
        let done = rows.len();
        let logits = oracle.logits(&data.batch(rows).view())?;
        progress(Progress::Done(done));
        Ok(logits)
    })
    .map_err(AuditError::Oracle)?;
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &views).map_err(|error| AuditError::Oracle(error.into()))
}
