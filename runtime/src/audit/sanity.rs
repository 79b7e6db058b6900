//! Whether model and gradient are such that an attack can be believed.
//!
//! The signs of masked gradients are those of Athalye, Carlini & Wagner 2018, arXiv 1802.00420,
//! section 3.1, looked for on the first few images of the data, the same for every part of an audit.

use ndarray::{Array2, Array4, ArrayView1, Axis};
use rift_models::dataset::Dataset;
use rift_models::threat::{Epsilon, Norm};
use serde::{Deserialize, Serialize};

use super::hard::hard;
use super::likeness::Likeness;
use super::runner::{Assault, classify, set_batch};
use super::watch::Watch;
use super::{AuditError, Keep, Plan};
use crate::attack::method::Method;
use crate::attack::oracle::{Oracle, is_distribution, margin};
use crate::attack::pgd::PgdLoss;
use crate::attack::samples::Classified;
use crate::attack::walk::Outcome;
use crate::autodiff::Head;

/// Images that are looked at, among so many of the data.
const LOOKED_AT: usize = 24;
const AMONG: usize = 64;
/// Steps that are many.
const STEPS: usize = 10;
/// Queries that show whether random search gets further than gradients.
const QUERIES: usize = 100;
/// Images that are asked about together to see whether one depends on another, at least.
const TOGETHER: usize = 2;

/// What the checks found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Images that were looked at.
    pub n: usize,
    /// Those whose logits differ when asked again.
    pub random: usize,
    /// Those whose logits differ when the others in the batch are blank, or not there.
    pub by_batch: usize,
    /// What the gradient was found to be worth, where one is used.
    pub gradient: Option<Worth>,
}

/// What a gradient is worth: counts of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// Images that were attacked, correct as they are.
    pub n: usize,
    /// Their gradient is 0 or not finite.
    pub blind: usize,
    /// Broken by one step.
    pub one_step: usize,
    /// Broken by many steps.
    pub many_steps: usize,
    /// No nearer to being misclassified after many steps than at the start.
    pub stuck: usize,
    /// The radius at which anything can become anything.
    pub far: Epsilon,
    /// Not broken even there.
    pub far_left: usize,
    /// Broken by random search alone, where gradients found nothing.
    pub black_box: usize,
    /// So sure that cross-entropy has no gradient in float32.
    pub saturated: usize,
    /// Answered by next to nothing but the class, where the gradient is that of the answer.
    pub hard: usize,
}

impl Worth {
    fn above(&self, count: usize, share: f64) -> bool {
        count as f64 > share * self.n as f64
    }

    /// Gradients are 0 or not finite.
    pub fn is_blind(&self) -> bool {
        self.above(self.blind, 0.05)
    }

    /// One step breaks more than many.
    pub fn one_step_wins(&self) -> bool {
        self.one_step > self.many_steps + 1
    }

    /// Many steps do not help.
    pub fn is_stuck(&self) -> bool {
        self.above(self.stuck, 0.3)
    }

    /// Accuracy stays where no image has anything left to tell.
    pub fn survives_anything(&self) -> bool {
        self.above(self.far_left, 0.1)
    }

    /// Random search breaks what gradients do not.
    pub fn black_box_wins(&self) -> bool {
        self.black_box > 1
    }

    /// Answers are all but hard.
    pub fn is_hard(&self) -> bool {
        self.above(self.hard, 0.5)
    }
}

impl Findings {
    /// Whether following the gradient gives too high an accuracy.
    pub fn is_masked(&self) -> bool {
        self.gradient.as_ref().is_some_and(|worth| {
            worth.is_blind()
                || worth.one_step_wins()
                || worth.is_stuck()
                || worth.survives_anything()
                || worth.black_box_wins()
                || worth.is_hard()
        })
    }

    /// Images that may be asked about at once where `wanted` would be liked: one alone where an answer
    /// depends on what else is asked.
    pub fn batch(&self, wanted: usize) -> usize {
        if self.by_batch > 0 { 1 } else { wanted }
    }

    /// Whether random search has to go over what gradients leave: they are masked, or the model's
    /// answers are not those of one function.
    pub fn needs_search(&self) -> bool {
        self.is_masked() || self.random > 0 || self.by_batch > 0
    }
}

/// Looks at the first images.
pub(super) fn look<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<Findings, AuditError> {
    let rows = 0..data.len().min(AMONG);
    let quiet = watch.aside();
    let batch = plan.batch.max(TOGETHER);
    set_batch(oracles, batch);
    // Both times one worker is asked: in two, what is drawn may be drawn in step.
    let mut logits = classify(&mut oracles[..1], data, rows.clone(), (batch, &quiet))?;
    let few = logits.nrows().min(LOOKED_AT);
    watch.tell("checks", 0, few);
    let again = classify(&mut oracles[..1], data, rows.clone(), (batch, &quiet))?;
    let random = (0..few).filter(|row| Likeness::AGAIN.differs(&logits, &again, *row)).count();
    // What is random differs anyway.
    let by_batch = if random > 0 { 0 } else { by_batch(oracles, data, (&logits, few), &quiet)? };
    let mut findings = Findings { n: few, random, by_batch, gradient: None };
    let batch = findings.batch(plan.batch);
    set_batch(oracles, batch);
    if findings.by_batch > 0 {
        logits = classify(oracles, data, rows, (1, &quiet))?;
    }
    let seen = Classified { data, first: 0, logits: &logits };
    let mut right = seen.right();
    right.truncate(LOOKED_AT);
    if plan.needs_gradient() && !right.is_empty() {
        let look = Look { seen: &seen, plan, batch, right: &right, watch: &quiet };
        findings.gradient = Some(look.gradient(oracles)?);
    }
    watch.tell("checks", few, few);
    Ok(findings)
}

/// How many of the first `few` images have other logits than `together` when they are asked about one
/// by one: among blank ones, by the same kernels, and where the model lets them be quite alone.
fn by_batch<O: Oracle + Send>(
    oracles: &mut [O],
    data: &Dataset,
    (together, few): (&Array2<f32>, usize),
    watch: &Watch<'_>,
) -> Result<usize, AuditError> {
    let among_blanks = classify(oracles, data, 0..few, (1, watch))?;
    let mut answers = vec![(among_blanks, Likeness::PLACED)];
    if oracles[0].fixed_batch().is_none() {
        set_batch(oracles, 1);
        let is_coarse = oracles[0].is_coarse();
        let how = if is_coarse { Likeness::SIZED_COARSELY } else { Likeness::SIZED };
        answers.push((classify(oracles, data, 0..few, (1, watch))?, how));
    }
    let is_other =
        |row: &usize| answers.iter().any(|(alone, how)| how.differs(together, alone, *row));
    Ok((0..few).filter(is_other).count())
}

struct Look<'a> {
    seen: &'a Classified<'a>,
    plan: &'a Plan,
    /// Images that each worker carries at once.
    batch: usize,
    right: &'a [usize],
    watch: &'a Watch<'a>,
}

impl Look<'_> {
    fn attack<O: Oracle + Send>(
        &self,
        oracles: &mut [O],
        method: &Method,
        (eps, early_stop): (&Epsilon, bool),
    ) -> Result<Vec<Outcome>, AuditError> {
        let mut setting = self.plan.setting(eps);
        setting.early_stop = early_stop;
        let (batch, keep) = (self.batch, Keep::All);
        let assault = Assault { method, setting, batch, keep, until: None };
        assault.run(oracles, self.seen, self.right, (&|_| (), self.watch))
    }

    fn gradient<O: Oracle + Send>(&self, oracles: &mut [O]) -> Result<Worth, AuditError> {
        let eps = &self.plan.eps[self.plan.eps.len() - 1];
        let far = far(self.plan.norm, self.seen.data.input().iter().product());
        let pgd = |eps: &Epsilon, steps: usize| Method::Pgd {
            step: eps.quarter(),
            steps,
            restarts: 1,
            loss: PgdLoss::Ce,
            momentum: 0.0,
        };
        let one = self.attack(oracles, &Method::Fgsm, (eps, true))?;
        let start = self.attack(oracles, &pgd(eps, 0), (eps, false))?;
        let end = self.attack(oracles, &pgd(eps, STEPS), (eps, false))?;
        let beyond = self.attack(oracles, &pgd(&far, STEPS), (&far, true))?;
        let search = Method::Square { queries: QUERIES, restarts: 1 };
        let search = self.attack(oracles, &search, (eps, true))?;
        let [before, after] = [self.leads(oracles, &start)?, self.leads(oracles, &end)?];
        let broken = |outcomes: &[Outcome]| outcomes.iter().filter(|o| o.broken).count();
        let only_search = search
            .iter()
            .zip(&one)
            .zip(&end)
            .filter(|((s, o), e)| s.broken && !o.broken && !e.broken);
        let stuck = before.iter().zip(&after).zip(start.iter().zip(&end));
        let stuck = stuck.filter(|((before, after), walk)| is_stuck(**before, **after, *walk));
        Ok(Worth {
            n: self.right.len(),
            blind: end.iter().filter(|outcome| outcome.blind).count(),
            one_step: broken(&one),
            many_steps: broken(&end),
            stuck: stuck.count(),
            far_left: self.right.len() - broken(&beyond),
            far,
            black_box: only_search.count(),
            saturated: self.right.iter().filter(|index| self.is_saturated(**index)).count(),
            hard: self.hard(&mut oracles[0])?,
        })
    }

    /// How far the images that the outcomes hold are from another class.
    fn leads<O: Oracle + Send>(
        &self,
        oracles: &mut [O],
        outcomes: &[Outcome],
    ) -> Result<Vec<f32>, AuditError> {
        let images: Vec<(&[f32], usize)> =
            outcomes.iter().map(|outcome| (&outcome.image[..], outcome.index)).collect();
        let rows = self.answers(&mut oracles[0], &images)?;
        let label = |outcome: &Outcome| self.seen.data.labels[outcome.index];
        let labels = outcomes.iter().map(label);
        Ok(rows.rows().into_iter().zip(labels).map(|(row, label)| lead(&row, label)).collect())
    }

    /// How many images have answers that are all but hard; a twin's gradient is not that of these.
    fn hard<O: Oracle>(&self, oracle: &mut O) -> Result<usize, AuditError> {
        if !oracle.follows_itself() {
            return Ok(0);
        }
        let pixels = |index: &usize| -> Vec<f32> {
            self.seen.data.batch(*index..*index + 1).iter().copied().collect()
        };
        let images: Vec<Vec<f32>> = self.right.iter().map(pixels).collect();
        let images: Vec<(&[f32], usize)> =
            images.iter().zip(self.right).map(|(image, index)| (&image[..], *index)).collect();
        Ok(hard(&self.answers(oracle, &images)?))
    }

    /// What is answered to images, a row each, each with the index of the one that it was made of.
    ///
    /// Probabilities round to 1 long before the logits that they are made of stop falling, so these
    /// are asked for where the gradient pass has them; what a twin has says nothing of the model.
    fn answers<O: Oracle>(
        &self,
        oracle: &mut O,
        images: &[(&[f32], usize)],
    ) -> Result<Array2<f32>, AuditError> {
        let is_hidden = self.seen.logits.rows().into_iter().all(|row| is_distribution(&row));
        let looks_behind = is_hidden && oracle.follows_itself();
        if looks_behind {
            oracle.follow(Head::LogOdds).map_err(AuditError::Oracle)?;
        }
        let [c, h, w] = self.seen.data.input();
        let mut answers = Array2::zeros((0, self.seen.logits.ncols()));
        for part in images.chunks(self.batch) {
            let mut stack = Array4::zeros((part.len(), c, h, w));
            for ((image, _), mut place) in part.iter().zip(stack.outer_iter_mut()) {
                for (to, from) in place.iter_mut().zip(*image) {
                    *to = *from;
                }
            }
            let labels: Vec<usize> =
                part.iter().map(|(_, index)| self.seen.data.labels[*index]).collect();
            let logits = if looks_behind {
                oracle.gradient(&stack.view(), &labels, &labels).map(|answer| answer.logits)
            } else {
                oracle.logits(&stack.view())
            };
            let logits = logits.map_err(AuditError::Oracle)?;
            answers
                .append(Axis(0), logits.view())
                .map_err(|error| AuditError::Oracle(error.into()))?;
        }
        Ok(answers)
    }

    /// Whether `softmax(z)_y` rounds to 1 and every other probability to 0.
    fn is_saturated(&self, index: usize) -> bool {
        let row = self.seen.logits.row(index - self.seen.first);
        // Below this, exp is 0 in float32, denormal numbers included.
        lead(&row, self.seen.data.labels[index]) > 104.0
    }
}

/// The margin of the logits, also of those that probabilities are made of: `ln p_y − max ln p_j`,
/// infinite where every other probability rounds to 0.
fn lead(row: &ArrayView1<f32>, label: usize) -> f32 {
    if is_distribution(row) { margin(&row.mapv(f32::ln).view(), label) } else { margin(row, label) }
}

/// Whether an image is no nearer to another class `after` many steps than `before`, although it could
/// have been: it had room to move, and the two can be told apart.
fn is_stuck(before: f32, after: f32, (start, end): (&Outcome, &Outcome)) -> bool {
    // A gradient of 0 moves nothing either, and does not help.
    let has_room = start.image != end.image || end.blind;
    let is_beyond_telling = before.is_infinite() && before == after;
    // The run of no steps is over at its start, which may already be misclassified.
    !end.broken && has_room && after >= before && !is_beyond_telling
}

/// A radius at which every image can become grey (L∞), or nearly (L2).
fn far(norm: Norm, values: usize) -> Epsilon {
    let length = match norm {
        Norm::Linf => 0.5,
        Norm::L2 => (0.5 * (values as f32).sqrt()).max(0.5),
    };
    // What is written for a finite float is a length.
    length.to_string().parse().unwrap_or_else(|_| unreachable!())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_lead_behind_probabilities_is_that_of_their_logits() {
        let probabilities = array![1.0, (-40.0_f32).exp(), (-60.0_f32).exp()];
        assert!(margin(&probabilities.view(), 0) == 1.0);
        assert!((lead(&probabilities.view(), 0) - 40.0).abs() < 1e-3);
        assert!((lead(&probabilities.view(), 2) + 60.0).abs() < 1e-3);
        assert_eq!(lead(&array![1.0, 0.0].view(), 0), f32::INFINITY);
        assert_eq!(lead(&array![3.0, -1.0].view(), 0), 4.0);
    }

    #[test]
    fn stuck_is_what_could_have_come_nearer_and_did_not() {
        let at = |pixel: f32| Outcome {
            index: 0,
            broken: false,
            prediction: 0,
            distance: 0.0,
            image: vec![pixel],
            gradients: 1,
            forwards: 1,
            blind: false,
        };
        let walk = (&at(0.1), &at(0.2));
        assert!(is_stuck(1.0, 1.0, walk) && is_stuck(1.0, f32::INFINITY, walk));
        assert!(!is_stuck(1.0, 0.9, walk) && !is_stuck(f32::INFINITY, 0.9, walk));
        assert!(!is_stuck(f32::INFINITY, f32::INFINITY, walk), "nobody can tell");
        assert!(!is_stuck(1.0, 1.0, (&at(0.1), &at(0.1))), "there was no room");
        let blind = Outcome { blind: true, ..at(0.1) };
        assert!(is_stuck(1.0, 1.0, (&at(0.1), &blind)));
        let broken = Outcome { broken: true, ..at(0.2) };
        assert!(!is_stuck(1.0, 1.0, (&at(0.1), &broken)));
    }
}
