//! Asking the model, over all its workers.

use std::ops::Range;
use std::time::Instant;

use ndarray::{Array2, ArrayView1, Axis};
use rift_models::artifact::Accuracy;
use rift_models::dataset::Dataset;
use rift_models::threat::Epsilon;

use super::sanity::{self, Findings};
use super::{AuditError, Keep, Plan};
use crate::attack::method::{Method, Setting};
use crate::attack::oracle::{Oracle, prediction};
use crate::attack::walk::{Carrier, Outcome, Queue, Samples};
use crate::session::spread;

/// Told of what is under way: its name, how many images are newly done, and of how many.
pub type Progress<'p> = dyn Fn(&str, usize, usize) + Sync + 'p;

/// What became of one image that is classified correctly as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Fate {
    /// The attack that broke it or the last that tried.
    pub outcome: Outcome,
    /// The stage that broke it.
    pub stage: Option<usize>,
    /// Whether the first gradient at it told nothing.
    pub blind: bool,
}

/// What one attack at one radius did.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The attack.
    pub method: Method,
    /// The radius.
    pub eps: Epsilon,
    /// Images that were still robust before it.
    pub attacked: usize,
    /// Those that it broke.
    pub broken: usize,
    /// Those that it did not finish before the time was up.
    pub unreached: usize,
    /// The accuracy over all images after it.
    pub robust: Accuracy,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Gradients taken.
    pub gradients: usize,
    /// Forward passes beside those of the gradients.
    pub forwards: usize,
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The images that it is about.
    pub rows: Range<usize>,
    /// The logits of the images as they are, N × classes.
    pub logits: Array2<f32>,
    /// The predictions for the images as they are.
    pub predictions: Vec<usize>,
    /// What became of each image that was attacked, by index.
    pub fates: Vec<Fate>,
    /// The attacks in order.
    pub stages: Vec<Stage>,
    /// What the checks of model and gradient found.
    pub findings: Findings,
    /// Images that are classified correctly as they are.
    pub clean: Accuracy,
    /// Images that are classified correctly whatever the attacks tried.
    pub robust: Accuracy,
}

/// Images of a data set that have been classified as they are.
pub(super) struct Seen<'a> {
    pub(super) data: &'a Dataset,
    pub(super) first: usize,
    pub(super) logits: &'a Array2<f32>,
}

impl Samples for Seen<'_> {
    fn copy(&self, index: usize, out: &mut [f32]) {
        for (to, from) in out.iter_mut().zip(self.data.batch(index..index + 1)) {
            *to = from;
        }
    }

    fn label(&self, index: usize) -> usize {
        self.data.labels[index]
    }

    fn logits(&self, index: usize) -> ArrayView1<'_, f32> {
        self.logits.row(index - self.first)
    }
}

impl Seen<'_> {
    /// Those that are classified correctly.
    pub(super) fn right(&self) -> Vec<usize> {
        let rows = self.logits.rows().into_iter().enumerate();
        let rows = rows.map(|(row, logits)| (self.first + row, prediction(&logits)));
        rows.filter(|(index, class)| *class == self.data.labels[*index]).map(|(i, _)| i).collect()
    }
}

/// Classifies all images, checks what can be trusted, then attacks what is classified correctly.
///
/// Where the checks find that gradients are masked, the black-box attack follows on what is left.
///
/// # Errors
/// If the plan makes no sense or the model fails.
pub fn measure<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    plan: &Plan,
    progress: &Progress<'_>,
) -> Result<Measured, AuditError> {
    plan.validate(data.input().iter().product())?;
    let logits = classify(oracles, data, plan.rows.clone(), (plan.batch, progress))?;
    let predictions: Vec<usize> = logits.rows().into_iter().map(|row| prediction(&row)).collect();
    let findings = sanity::look(oracles, data, plan, progress)?;
    let mut plan = plan.clone();
    if findings.is_masked() && !plan.methods.iter().any(Method::is_black_box) {
        plan.methods.push(Method::square());
    }
    let seen = Seen { data, first: plan.rows.start, logits: &logits };
    let survivors = seen.right();
    let clean = Accuracy::new(survivors.len(), plan.rows.len());
    let mut siege = Siege {
        seen: &seen,
        plan: &plan,
        fates: Vec::with_capacity(survivors.len()),
        stages: Vec::new(),
        survivors,
    };
    for eps in &plan.eps {
        for method in &plan.methods {
            siege.stage(oracles, method, eps, progress)?;
        }
    }
    let Siege { mut fates, stages, survivors, .. } = siege;
    let robust = Accuracy::new(survivors.len(), plan.rows.len());
    fates.sort_by_key(|fate| fate.outcome.index);
    let rows = plan.rows;
    Ok(Measured { rows, logits, predictions, fates, stages, findings, clean, robust })
}

/// The attacks so far.
struct Siege<'a> {
    seen: &'a Seen<'a>,
    plan: &'a Plan,
    fates: Vec<Fate>,
    stages: Vec<Stage>,
    survivors: Vec<usize>,
}

impl Siege<'_> {
    /// One attack at one radius on what is left.
    fn stage<O: Oracle + Send>(
        &mut self,
        oracles: &mut [O],
        method: &Method,
        eps: &Epsilon,
        progress: &Progress<'_>,
    ) -> Result<(), AuditError> {
        let started = Instant::now();
        let name =
            if self.plan.eps.len() > 1 { format!("{method} {eps}") } else { method.to_string() };
        let assault = Assault {
            method,
            setting: self.plan.setting(eps),
            batch: self.plan.batch,
            keep: self.plan.keep,
            until: self.plan.until,
        };
        let outcomes = assault.run(oracles, self.seen, &self.survivors, (&name, progress))?;
        let attacked = self.survivors.len();
        let count = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum();
        let (gradients, forwards) = (count(|o| o.gradients), count(|o| o.forwards));
        let broken = outcomes.iter().filter(|outcome| outcome.broken).count();
        self.survivors.retain({
            let broken: Vec<usize> =
                outcomes.iter().filter(|o| o.broken).map(|o| o.index).collect();
            move |index| broken.binary_search(index).is_err()
        });
        self.stages.push(Stage {
            method: method.clone(),
            eps: eps.clone(),
            attacked,
            broken,
            unreached: attacked - outcomes.len(),
            robust: Accuracy::new(self.survivors.len(), self.plan.rows.len()),
            seconds: started.elapsed().as_secs_f64(),
            gradients,
            forwards,
        });
        self.remember(outcomes);
        Ok(())
    }

    /// Keeps of each image what broke it or tried last; both are sorted by index.
    fn remember(&mut self, outcomes: Vec<Outcome>) {
        let stage = self.stages.len() - 1;
        self.fates.sort_by_key(|fate| fate.outcome.index);
        let mut fresh = Vec::new();
        for outcome in outcomes {
            let broken = outcome.broken.then_some(stage);
            let at = self.fates.binary_search_by_key(&outcome.index, |fate| fate.outcome.index);
            let blind = outcome.blind || at.is_ok_and(|at| self.fates[at].blind);
            let fate = Fate { outcome, stage: broken, blind };
            if let Ok(at) = at {
                self.fates[at] = fate;
            } else {
                fresh.push(fate);
            }
        }
        self.fates.extend(fresh);
    }
}

/// One attack with all that it needs to know.
pub(super) struct Assault<'a> {
    pub(super) method: &'a Method,
    pub(super) setting: Setting,
    pub(super) batch: usize,
    pub(super) keep: Keep,
    pub(super) until: Option<Instant>,
}

impl Assault<'_> {
    /// Attacks these images with all workers; the outcomes by index.
    pub(super) fn run<O: Oracle + Send>(
        &self,
        oracles: &mut [O],
        seen: &Seen<'_>,
        indices: &[usize],
        (name, progress): (&str, &Progress<'_>),
    ) -> Result<Vec<Outcome>, AuditError> {
        let (n, classes) = (indices.len(), seen.logits.ncols());
        let queue = Queue::new(indices.to_vec()).until(self.until);
        let carrier = Carrier { input: seen.data.input(), batch: self.batch };
        let attack = |oracle: &mut O, _| {
            let mut outcomes = Vec::new();
            let finished = |mut outcome: Outcome| {
                let is_kept = match self.keep {
                    Keep::All => true,
                    Keep::First(many) => outcome.broken && outcome.index < many,
                };
                if !is_kept {
                    outcome.image = Vec::new();
                }
                outcomes.push(outcome);
                progress(name, 1, n);
            };
            let work = (seen, &queue);
            let result =
                self.method.run((&self.setting, classes), &carrier, oracle, work, finished);
            if result.is_err() {
                queue.close();
            }
            result.map(|()| outcomes)
        };
        progress(name, 0, n);
        // One piece of work a worker: the queue shares out the images.
        let workers = oracles.len();
        let parts = spread(oracles, workers, 1, attack).map_err(AuditError::Oracle)?;
        let mut outcomes = parts.concat();
        outcomes.sort_by_key(|outcome| outcome.index);
        Ok(outcomes)
    }
}

pub(super) fn classify<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    rows: Range<usize>,
    (batch, progress): (usize, &Progress<'_>),
) -> Result<Array2<f32>, AuditError> {
    let (first, n) = (rows.start, rows.len());
    let parts = spread(oracles, n, batch, |oracle, part| {
        let done = part.len();
        let part = first + part.start..first + part.end;
        let logits = oracle.logits(&data.batch(part).view())?;
        progress("clean", done, n);
        Ok(logits)
    })
    .map_err(AuditError::Oracle)?;
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &views).map_err(|error| AuditError::Oracle(error.into()))
}
