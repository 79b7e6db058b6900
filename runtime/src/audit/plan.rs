//! What an audit does, checked before it starts.

use std::ops::Range;
use std::time::Instant;

use rift_models::dataset::Dataset;
use rift_models::threat::{AttackError, Epsilon, Norm};

use super::sanity::Findings;
use super::smoothing::Smoothing;
use super::state::StateError;
use crate::attack::gradient::GradientError;
use crate::attack::method::{Method, Setting};
use crate::attack::oracle::OracleError;
use crate::autodiff::Head;
use crate::session::{Classifier, SessionError};

/// Which adversarial images are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All, and the last attempts at those that were not broken.
    All,
    /// Those among the first so many images that are attacked.
    First(usize),
}

/// An audit to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The norm of the perturbation.
    pub norm: Norm,
    /// The radii, rising; what breaks at one is broken at all that follow.
    pub eps: Vec<Epsilon>,
    /// The attacks in order, each on what those before left.
    pub methods: Vec<Method>,
    /// The seed of every draw.
    pub seed: u64,
    /// Whether a broken image leaves at once.
    pub early_stop: bool,
    /// Images that each worker carries at once.
    pub batch: usize,
    /// Which adversarial images are kept.
    pub keep: Keep,
    /// When to stop, whatever is left.
    pub until: Option<Instant>,
    /// The images of the data that are attacked; none of them in a part of an audit of few.
    pub rows: Range<usize>,
    /// How the smoothed classifier is certified, where that is asked for.
    pub smoothing: Option<Smoothing>,
}

/// An audit that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The attack makes no sense.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// The radii do not rise.
    #[error("eps `{later}` follows `{earlier}`, expected radii that rise")]
    Order {
        /// The radius before.
        earlier: Epsilon,
        /// The radius after.
        later: Epsilon,
    },
    /// There is nothing to do.
    #[error("found {found}, expected at least one")]
    Nothing {
        /// What there is none of.
        found: &'static str,
    },
    /// The model cannot be opened or run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The model has no gradient.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// The images do not fit the model.
    #[error(
        "the model takes images of {expected:?} (channels, height, width), the data has {found:?}{}",
        remedy(*expected, *found)
    )]
    Input {
        /// What the model takes.
        expected: [usize; 3],
        /// What the data has.
        found: [usize; 3],
    },
    /// The model whose gradients are to be followed is no twin of the one attacked.
    #[error("the gradients are from a model of {found}, expected as the one attacked {expected}")]
    Twin {
        /// What the model attacked takes and knows.
        expected: String,
        /// What the other takes and knows.
        found: String,
    },
    /// The data has classes that the model does not know.
    #[error("the model knows {classes} classes, image {index} of the data has label {label}")]
    Label {
        /// The model's classes.
        classes: usize,
        /// The image.
        index: usize,
        /// Its label.
        label: usize,
    },
    /// The model fails.
    #[error("the model fails during the audit")]
    Oracle(#[source] OracleError),
    /// What is done cannot be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// Whoever looks on has stopped it.
    #[error("the audit was stopped")]
    Interrupted,
}

/// What would make images of `found` fit.
fn remedy(expected: [usize; 3], found: [usize; 3]) -> String {
    if expected[0] == found[0] {
        let [_, height, width] = expected;
        format!(": `--resize` makes them {height}x{width}")
    } else {
        format!(": it would need images of {} channels", expected[0])
    }
}

impl Plan {
    /// Checks the plan against images of `values` numbers each.
    ///
    /// # Errors
    /// If there is no attack, a radius or step is impossible or the radii do not rise.
    pub fn validate(&self, values: usize) -> Result<(), AuditError> {
        if self.eps.is_empty() {
            return Err(AuditError::Nothing { found: "no eps" });
        }
        if self.methods.is_empty() {
            return Err(AuditError::Nothing { found: "no attack" });
        }
        for eps in &self.eps {
            for method in &self.methods {
                let mut spec = method.spec(&self.setting(eps));
                if !matches!(method, Method::Pgd { .. }) {
                    spec.steps = 0;
                }
                spec.validate(values)?;
            }
        }
        match self.eps.windows(2).find(|pair| pair[0].value() >= pair[1].value()) {
            Some([earlier, later]) => {
                Err(AuditError::Order { earlier: earlier.clone(), later: later.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The attacks' setting at one radius.
    pub fn setting(&self, eps: &Epsilon) -> Setting {
        Setting { norm: self.norm, eps: eps.clone(), seed: self.seed, early_stop: self.early_stop }
    }

    /// Whether any of the attacks follows a gradient.
    pub fn needs_gradient(&self) -> bool {
        self.methods.iter().any(|method| !method.is_black_box())
    }

    /// Whether random search has to follow the attacks, by what was found of the model; never where no
    /// image may be changed.
    pub(super) fn wants_search(&self, findings: &Findings) -> bool {
        let may_change = self.eps.iter().any(|eps| eps.value() > 0.0);
        let searches = self.methods.iter().any(Method::is_black_box);
        may_change && !searches && findings.needs_search()
    }

    /// The losses that attacks and checks follow on a model of so many classes.
    pub fn heads(&self, classes: usize) -> Vec<Head> {
        if !self.needs_gradient() {
            return Vec::new();
        }
        let of_attacks = self.methods.iter().filter_map(|method| method.head(classes));
        of_attacks.chain([Head::LogOdds]).collect()
    }
}

/// Checks that the model can be asked about the data.
///
/// # Errors
/// If the images have another shape or a label is beyond the model's classes.
pub fn check_data(classifier: &Classifier, data: &Dataset) -> Result<(), AuditError> {
    let (expected, found) = (classifier.input(), data.input());
    if expected != found {
        return Err(AuditError::Input { expected, found });
    }
    let classes = classifier.classes();
    match data.labels.iter().enumerate().find(|(_, label)| **label >= classes) {
        Some((index, label)) => Err(AuditError::Label { classes, index, label: *label }),
        None => Ok(()),
    }
}
