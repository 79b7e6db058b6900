//! Asking the model, over all its workers.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ndarray::{Array2, Axis};
use rift_models::artifact::Accuracy;
use rift_models::dataset::Dataset;
use rift_models::threat::Epsilon;

use super::pace::{Ahead, Pace};
use super::sanity::{self, Findings};
use super::smoothing::{self, Vote};
use super::state::State;
use super::watch::{Step, Watch};
use super::{AuditError, Keep, Plan};
use crate::attack::method::{Method, Setting};
use crate::attack::oracle::{Oracle, prediction};
use crate::attack::samples::Classified;
use crate::attack::walk::{Carrier, Outcome, Queue};
use crate::session::spread;

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
    /// What the images' noisy copies were found to be, where that was asked for.
    pub ballot: Option<Ballot>,
}

/// The votes of noisy copies.
#[derive(Clone, Debug, PartialEq)]
pub struct Ballot {
    /// By index; images that the time did not suffice for have none.
    pub votes: Vec<Vote>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// Checks what can be trusted, classifies all images, then attacks what is classified correctly.
///
/// Where the checks find that gradients cannot be followed, the black-box attack goes over what is
/// left; where an answer depends on what else is asked, images are asked about one by one.
///
/// # Errors
/// If the plan makes no sense, the model fails, or whoever looks on stops it.
pub fn measure<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<Measured, AuditError> {
    plan.validate(data.input().iter().product())?;
    let findings = findings(oracles, data, plan, watch)?;
    let mut plan = plan.clone();
    plan.batch = findings.batch(plan.batch);
    set_batch(oracles, plan.batch);
    if plan.wants_search(&findings) {
        plan.methods.push(Method::square());
    }
    let logits = classify(oracles, data, plan.rows.clone(), (plan.batch, watch))?;
    let predictions: Vec<usize> = logits.rows().into_iter().map(|row| prediction(&row)).collect();
    let seen = Classified { data, first: plan.rows.start, logits: &logits };
    let survivors = seen.right();
    let clean = Accuracy::new(survivors.len(), plan.rows.len());
    let mut siege = Siege {
        seen: &seen,
        plan: &plan,
        pace: Pace::new(),
        fates: Vec::with_capacity(survivors.len()),
        stages: Vec::new(),
        survivors,
    };
    for eps in &plan.eps {
        for method in &plan.methods {
            siege.stage(oracles, (method, eps), watch)?;
        }
    }
    let Siege { mut fates, stages, survivors, .. } = siege;
    let robust = Accuracy::new(survivors.len(), plan.rows.len());
    fates.sort_by_key(|fate| fate.outcome.index);
    let ballot = match &plan.smoothing {
        Some(smoothing) => Some(smoothing::certify(oracles, (data, smoothing), &plan, watch)?),
        None => None,
    };
    let rows = plan.rows;
    Ok(Measured { rows, logits, predictions, fates, stages, findings, clean, robust, ballot })
}

/// Lets every worker send this many images through the model at once.
pub(super) fn set_batch<O: Oracle>(oracles: &mut [O], batch: usize) {
    for oracle in oracles {
        oracle.set_batch(batch);
    }
}

/// What the checks find, or found before the audit was stopped.
fn findings<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<Findings, AuditError> {
    if let Some(findings) = watch.state.and_then(State::findings) {
        return Ok(findings);
    }
    let findings = sanity::look(oracles, data, plan, watch)?;
    if let Some(state) = watch.state {
        state.keep_findings(&findings);
    }
    Ok(findings)
}

/// The attacks so far.
struct Siege<'a> {
    seen: &'a Classified<'a>,
    plan: &'a Plan,
    pace: Pace,
    fates: Vec<Fate>,
    stages: Vec<Stage>,
    survivors: Vec<usize>,
}

impl Siege<'_> {
    /// One attack at one radius on what is left.
    fn stage<O: Oracle + Send>(
        &mut self,
        oracles: &mut [O],
        (method, eps): (&Method, &Epsilon),
        watch: &Watch<'_>,
    ) -> Result<(), AuditError> {
        let name =
            if self.plan.eps.len() > 1 { format!("{method} {eps}") } else { method.to_string() };
        let assault = Assault {
            method,
            setting: self.plan.setting(eps),
            batch: self.plan.batch,
            keep: self.plan.keep,
            until: self.plan.until,
        };
        let step = Stride { name: &name, stage: self.stages.len(), ahead: self.ahead(method) };
        let (outcomes, seconds) = self.resume(oracles, &assault, &step, watch)?;
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
            seconds,
            gradients,
            forwards,
        });
        self.remember(outcomes);
        Ok(())
    }

    /// The work for an image that resists this attack, and that for one which resists the later ones.
    fn ahead(&self, method: &Method) -> Ahead {
        let classes = self.seen.logits.ncols();
        let of_all: f64 = self.plan.methods.iter().map(|method| method.work(classes)).sum();
        let now = method.work(classes);
        let at = self.stages.len();
        let so_far: f64 =
            self.plan.methods.iter().cycle().take(at).map(|method| method.work(classes)).sum();
        Ahead { now, later: of_all * self.plan.eps.len() as f64 - so_far - now }
    }

    /// Attacks what the state does not know; the outcomes by index, and the seconds over all runs.
    fn resume<O: Oracle + Send>(
        &self,
        oracles: &mut [O],
        assault: &Assault<'_>,
        stride: &Stride<'_>,
        watch: &Watch<'_>,
    ) -> Result<(Vec<Outcome>, f64), AuditError> {
        let started = Instant::now();
        let (mut outcomes, before) =
            watch.state.map_or_else(Default::default, |state| state.outcomes(stride.stage));
        outcomes.retain(|outcome| self.survivors.binary_search(&outcome.index).is_ok());
        outcomes.sort_by_key(|outcome| outcome.index);
        outcomes.dedup_by_key(|outcome| outcome.index);
        let is_left = |index: &&usize| outcomes.binary_search_by_key(*index, |o| o.index).is_err();
        let left: Vec<usize> = self.survivors.iter().filter(is_left).copied().collect();
        let of = self.survivors.len();
        watch.tell(stride.name, of - left.len(), of);
        if left.is_empty() {
            return Ok((outcomes, before));
        }
        let seconds = || before + started.elapsed().as_secs_f64();
        let resisting =
            AtomicUsize::new(left.len() + outcomes.iter().filter(|o| !o.broken).count());
        let waiting = AtomicUsize::new(left.len());
        let finished = |outcome: &Outcome| {
            if let Some(state) = watch.state {
                state.keep_outcome(stride.stage, outcome, seconds());
            }
            self.pace.count(outcome);
            let waiting = waiting.fetch_sub(1, Ordering::Relaxed) - 1;
            let broken = usize::from(outcome.broken);
            let resisting = resisting.fetch_sub(broken, Ordering::Relaxed) - broken;
            let left = self.pace.left(stride.ahead, waiting, resisting);
            watch.step(Step { name: stride.name, done: 1, of, left });
        };
        outcomes.extend(assault.run(oracles, self.seen, &left, (&finished, watch))?);
        outcomes.sort_by_key(|outcome| outcome.index);
        Ok((outcomes, seconds()))
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

/// Where an attack stands among all.
struct Stride<'a> {
    name: &'a str,
    stage: usize,
    ahead: Ahead,
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
    /// Attacks these images with all workers; the outcomes by index. `told` hears of each as it is
    /// done.
    pub(super) fn run<O: Oracle + Send>(
        &self,
        oracles: &mut [O],
        seen: &Classified<'_>,
        indices: &[usize],
        (told, watch): (&(dyn Fn(&Outcome) + Sync), &Watch<'_>),
    ) -> Result<Vec<Outcome>, AuditError> {
        let classes = seen.logits.ncols();
        let queue = Queue::new(indices.to_vec()).until(self.until).unless(watch.stop.clone());
        let carrier = Carrier { input: seen.data.input(), batch: self.batch };
        let attack = |oracle: &mut O, _| {
            let mut outcomes = Vec::new();
            let finished = |mut outcome: Outcome| {
                let is_kept = match self.keep {
                    Keep::All => true,
                    Keep::First(many) => outcome.broken && outcome.index - seen.first < many,
                };
                if !is_kept {
                    outcome.image = Vec::new();
                }
                told(&outcome);
                outcomes.push(outcome);
                if watch.state.is_some_and(State::has_failed) {
                    queue.close();
                }
            };
            let work = (seen, &queue);
            let result =
                self.method.run((&self.setting, classes), &carrier, oracle, work, finished);
            if result.is_err() {
                queue.close();
            }
            result.map(|()| outcomes)
        };
        // One piece of work a worker: the queue shares out the images.
        let workers = oracles.len();
        let parts = spread(oracles, workers, 1, attack).map_err(AuditError::Oracle)?;
        watch.check()?;
        let mut outcomes = parts.concat();
        outcomes.sort_by_key(|outcome| outcome.index);
        Ok(outcomes)
    }
}

pub(super) fn classify<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    rows: Range<usize>,
    (batch, watch): (usize, &Watch<'_>),
) -> Result<Array2<f32>, AuditError> {
    let (first, n) = (rows.start, rows.len());
    let parts = spread(oracles, n, batch, |oracle, part| {
        // Whoever stops the audit finds out below; until then there is nothing left to do.
        if watch.check().is_err() {
            return Ok(Array2::zeros((0, 0)));
        }
        let done = part.len();
        let part = first + part.start..first + part.end;
        let known = watch.state.and_then(|state| state.logits(part.clone()));
        let logits = if let Some(known) = known {
            known
        } else {
            let logits = oracle.logits(&data.batch(part.clone()).view())?;
            if let Some(state) = watch.state {
                state.keep_logits(part.start, &logits.view());
            }
            logits
        };
        watch.tell("clean", done, n);
        Ok(logits)
    })
    .map_err(AuditError::Oracle)?;
    watch.check()?;
    if parts.is_empty() {
        return Ok(Array2::zeros((0, 0)));
    }
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &views).map_err(|error| AuditError::Oracle(error.into()))
}
