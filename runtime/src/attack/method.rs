//! The attacks by name, with their settings, and the compositions of them.

use std::fmt;

use rift_models::threat::{AttackSpec, Epsilon, Norm};
use serde::{Deserialize, Serialize};

use super::apgd::Apgd;
use super::fab::Fab;
use super::oracle::{Oracle, OracleError};
use super::pgd::{Pgd, PgdLoss};
use super::samples::Samples;
use super::square::Square;
use super::walk::{Carrier, Outcome, Queue};
use super::{fab, pgd, square};
use crate::autodiff::Head;

/// Steps of the attacks of AutoAttack.
const ITERATIONS: usize = 100;
/// Classes that AutoAttack's targeted attacks aim at.
const TARGETS: usize = 9;
/// Queries of its random search.
pub const QUERIES: usize = 5000;

/// An attack and what of its settings the threat model does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "attack", rename_all = "kebab-case")]
pub enum Method {
    /// One step of the gradient's sign to the edge of the ball.
    Fgsm,
    /// Projected gradient descent.
    Pgd {
        /// The length of one step.
        step: Epsilon,
        /// Steps of one restart.
        steps: usize,
        /// Random starts.
        restarts: usize,
        /// The loss.
        loss: PgdLoss,
        /// How much of the last directions is kept.
        momentum: f32,
    },
    /// Auto-PGD on cross-entropy.
    ApgdCe {
        /// Steps of one restart.
        iterations: usize,
        /// Random starts.
        restarts: usize,
    },
    /// Auto-PGD on the difference of logits ratio; on the margin with fewer than four classes.
    ApgdDlr {
        /// Steps of one restart.
        iterations: usize,
        /// Random starts.
        restarts: usize,
    },
    /// Auto-PGD on the targeted ratio; on the difference of logits with fewer than four classes.
    ApgdT {
        /// Steps of one restart.
        iterations: usize,
        /// Random starts for each target.
        restarts: usize,
        /// Classes aimed at, the most likely first.
        targets: usize,
    },
    /// FAB towards targets.
    FabT {
        /// Steps of one restart.
        iterations: usize,
        /// Starts for each target.
        restarts: usize,
        /// Classes aimed at, the most likely first.
        targets: usize,
    },
    /// Random search.
    Square {
        /// Queries of one restart.
        queries: usize,
        /// Independent searches.
        restarts: usize,
    },
}

/// What an adversary may do, and how draws and images are handled.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The norm of the perturbation.
    pub norm: Norm,
    /// Its largest norm.
    pub eps: Epsilon,
    /// The seed of every draw.
    pub seed: u64,
    /// Whether a broken image leaves at once.
    pub early_stop: bool,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Method {
    /// AutoAttack's standard composition.
    ///
    /// # References
    /// Croce & Hein 2020, arXiv 2003.01690, section 5.
    pub fn autoattack() -> Vec<Self> {
        let mut methods = Self::fast();
        methods.push(Self::fab_t(1));
        methods.push(Self::square());
        methods
    }

    /// The two attacks that break nearly all that AutoAttack breaks.
    pub fn fast() -> Vec<Self> {
        vec![Self::apgd_ce(1), Self::apgd_t()]
    }

    /// AutoAttack's `plus`, with the targeted form of FAB from five starts in the place of the
    /// untargeted one.
    pub fn plus() -> Vec<Self> {
        let dlr = Self::ApgdDlr { iterations: ITERATIONS, restarts: 5 };
        vec![Self::apgd_ce(5), dlr, Self::apgd_t(), Self::fab_t(5), Self::square()]
    }

    /// Auto-PGD on cross-entropy from so many starts.
    pub fn apgd_ce(restarts: usize) -> Self {
        Self::ApgdCe { iterations: ITERATIONS, restarts }
    }

    /// Auto-PGD on the difference of logits ratio from so many starts.
    pub fn apgd_dlr(restarts: usize) -> Self {
        Self::ApgdDlr { iterations: ITERATIONS, restarts }
    }

    /// AutoAttack's targeted Auto-PGD.
    pub fn apgd_t() -> Self {
        Self::ApgdT { iterations: ITERATIONS, restarts: 1, targets: TARGETS }
    }

    /// AutoAttack's targeted FAB from so many starts.
    pub fn fab_t(restarts: usize) -> Self {
        Self::FabT { iterations: ITERATIONS, restarts, targets: TARGETS }
    }

    /// AutoAttack's random search.
    pub fn square() -> Self {
        Self::Square { queries: QUERIES, restarts: 1 }
    }

    /// The attack's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fgsm => "fgsm",
            Self::Pgd { .. } => pgd::NAME,
            Self::ApgdCe { .. } => "apgd-ce",
            Self::ApgdDlr { .. } => "apgd-dlr",
            Self::ApgdT { .. } => "apgd-t",
            Self::FabT { .. } => fab::NAME,
            Self::Square { .. } => square::NAME,
        }
    }

    /// Whether it asks for logits alone.
    pub fn is_black_box(&self) -> bool {
        matches!(self, Self::Square { .. })
    }

    /// The loss whose gradient it follows on a model of so many classes.
    pub fn head(&self, classes: usize) -> Option<Head> {
        // Both ratios need more classes than the margin; AutoAttack leaves fewer than four to it.
        let or = |head: Head, less| if classes < 4 { less } else { head };
        Some(match self {
            Self::Fgsm | Self::ApgdCe { .. } => Head::LogOdds,
            Self::Pgd { loss, .. } => loss.head(),
            Self::ApgdDlr { .. } => or(Head::Dlr, Head::Margin),
            Self::ApgdT { .. } => or(Head::TargetedDlr, Head::LogitDifference),
            Self::FabT { .. } => Head::LogitDifference,
            Self::Square { .. } => return None,
        })
    }

    /// Gradients that an image costs which resists it, on a model of so many classes; a forward pass
    /// counts a third of one.
    pub fn work(&self, classes: usize) -> f64 {
        let steps = |iterations: usize, restarts: usize| (iterations + 1) as f64 * restarts as f64;
        let aims = |targets: usize| targets.min(classes.saturating_sub(1)).max(1) as f64;
        match *self {
            Self::Fgsm => 1.0 + 1.0 / 3.0,
            Self::Pgd { steps: n, restarts, .. } => steps(n, restarts),
            Self::ApgdCe { iterations, restarts } | Self::ApgdDlr { iterations, restarts } => {
                steps(iterations, restarts)
            }
            Self::ApgdT { iterations, restarts, targets } => {
                steps(iterations, restarts) * aims(targets)
            }
            // Every point is judged, since it may lie beyond the radius.
            Self::FabT { iterations, restarts, targets } => {
                steps(iterations, restarts) * aims(targets) * 4.0 / 3.0
            }
            Self::Square { queries, restarts } => (queries * restarts) as f64 / 3.0,
        }
    }

    /// PGD's specification in `setting`; that of FGSM too.
    pub fn spec(&self, setting: &Setting) -> AttackSpec {
        let (step, steps, restarts) = match self {
            Self::Pgd { step, steps, restarts, .. } => (step.clone(), *steps, *restarts),
            _ => (setting.eps.clone(), 1, 1),
        };
        AttackSpec {
            norm: setting.norm,
            eps: setting.eps.clone(),
            step,
            steps,
            restarts,
            random_start: !matches!(self, Self::Fgsm),
            early_stop: setting.early_stop,
            seed: setting.seed,
        }
    }

    /// Attacks the images of `queue` with it.
    ///
    /// # Errors
    /// If the model fails.
    pub fn run(
        &self,
        (setting, classes): (&Setting, usize),
        carrier: &Carrier,
        oracle: &mut impl Oracle,
        (samples, queue): (&impl Samples, &Queue),
        finished: impl FnMut(Outcome),
    ) -> Result<(), OracleError> {
        let (norm, eps, seed) = (setting.norm, setting.eps.value(), setting.seed);
        let early_stop = setting.early_stop;
        match *self {
            Self::Fgsm => {
                let attack = Pgd::fgsm(self.spec(setting));
                carrier.run(&attack, oracle, (samples, queue), finished)
            }
            Self::Pgd { loss, momentum, .. } => {
                let attack = Pgd { spec: self.spec(setting), loss, momentum };
                carrier.run(&attack, oracle, (samples, queue), finished)
            }
            Self::ApgdCe { iterations, restarts } | Self::ApgdDlr { iterations, restarts } => {
                let head = self.head(classes).unwrap_or(Head::LogOdds);
                let (name, targets) = (self.name(), 0);
                let attack =
                    Apgd { name, head, norm, eps, iterations, restarts, targets, early_stop, seed };
                carrier.run(&attack, oracle, (samples, queue), finished)
            }
            Self::ApgdT { iterations, restarts, targets } => {
                let (name, head) = (self.name(), self.head(classes).unwrap_or(Head::TargetedDlr));
                let attack =
                    Apgd { name, head, norm, eps, iterations, restarts, targets, early_stop, seed };
                carrier.run(&attack, oracle, (samples, queue), finished)
            }
            Self::FabT { iterations, restarts, targets } => {
                let attack = Fab { norm, eps, iterations, restarts, targets, seed };
                carrier.run(&attack, oracle, (samples, queue), finished)
            }
            Self::Square { queries, restarts } => {
                let input = carrier.input;
                let attack = Square { norm, eps, queries, restarts, input, seed };
                carrier.run(&attack, oracle, (samples, queue), finished)
            }
        }
    }
}
