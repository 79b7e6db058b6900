//! Module robust criticality: how much robustness hangs on one layer's weights.
//!
//! The weights `w` of one module after the other go up the mean loss on adversarial images, within
//! a ball,
//!
//! ```text
//! δ ← project(δ + η ∇ / ‖∇‖_F),   ‖δ‖_F ≤ ε ‖w‖_F,
//! ```
//!
//! and the criticality is the largest rise of the loss on the way. The projection comes after every
//! step, as in the paper; [`Ascent::Reference`] projects once an epoch, as its code.
//!
//! The adversarial images are made once, at the network's own weights, as in the paper's algorithm
//! and its code; [`MrcSettings::joint`] makes them anew for every perturbation, as the definition
//! asks.
//!
//! # Cost
//! Batch normalisation stays in evaluation mode and nothing but the module moves. So the activations
//! that enter it are the same in every pass: they are computed once, going on from those of the
//! module before, and only the rest of the network is run again. The gradient at the network's own
//! weights, with which every ascent begins, comes from one pass for all modules.
//!
//! # References
//! Robust Critical Fine-Tuning, arXiv 2308.02533, definition 3.1 and algorithm 1.

mod ascent;
mod halves;
mod pass;

use rift_models::arch::UnknownModule;
use rift_models::artifact::{Ascent, MrcRow, rank_correlation};
use rift_models::threat::{AttackSpec, NoiseKey};

use crate::attack::craft;
use crate::data::{Batch, ImageSet};
use crate::network::{Network, TorchError};
use crate::record::Progress;

use pass::{Attacked, Prefix, Stage};

/// How criticality is measured.
#[derive(Clone, Debug)]
pub struct MrcSettings {
    /// The attack that makes the adversarial images; all of its steps, one restart.
    pub threat: AttackSpec,
    /// Radius of the weight ball relative to the weights' Frobenius norm (the paper's ε, 0.1).
    pub radius: f64,
    /// Ascent steps (the paper's T, 10): along the gradient over all images, or epochs over them.
    pub steps: usize,
    /// How the weights go up.
    pub ascent: Ascent,
    /// Whether the adversarial images are made anew for every perturbation.
    pub joint: bool,
    /// Whether to measure on each half of the images too, for their rank correlation.
    pub halves: bool,
    /// Images in one pass, and in one step of [`Ascent::Reference`], whose result depends on it.
    pub batch: usize,
    /// Memory for activations; beyond it they are computed again in every pass.
    pub cache_bytes: usize,
}

/// The criticality of modules on one set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Criticality {
    /// The mean loss on the adversarial images before any perturbation.
    pub loss: f64,
    /// The accuracy on the adversarial images before any perturbation, a fraction.
    pub robust_accuracy: f64,
    /// A row for each module, in the order in which they were asked for.
    pub rows: Vec<MrcRow>,
    /// The rank correlation between the two halves of the images, where it was asked for.
    pub halves: Option<f64>,
}

/// Criticality that cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MrcError {
    /// A name that is not a module's.
    #[error(transparent)]
    Module(#[from] UnknownModule),
    /// The network gives no usable loss to begin with.
    #[error("the loss on the adversarial images is {0}, expected a finite number")]
    NotFinite(f64),
    /// No step within the ball gives a usable loss.
    #[error("no step of `{module}` gives a finite loss (try a smaller `--radius`)")]
    Lost {
        /// The module.
        module: String,
    },
    /// Too few images for two halves.
    #[error("expected at least 2 images for two halves, found {0}")]
    Halves(usize),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for MrcError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

impl MrcSettings {
    /// The number of images that pass through the network, for a progress bar.
    pub fn images(&self, n: usize, modules: usize) -> usize {
        let times = if self.halves { 2 } else { 1 };
        let passes = self.steps.saturating_mul(times * modules).saturating_add(1);
        n.saturating_mul(passes)
    }

    /// What the rows depend on beside the network, the images and the attack, as reports have it.
    pub fn describe(&self) -> serde_json::Value {
        let mut settings = serde_json::json!({
            "radius": self.radius,
            "steps": self.steps,
            "ascent": self.ascent,
            "joint": self.joint,
        });
        if self.ascent == Ascent::Reference {
            settings["batch_size"] = self.batch.into();
        }
        settings
    }
}

/// Measures the criticality of `modules`.
///
/// The network itself is not touched: a copy is perturbed, and put back exactly after each module.
///
/// # Errors
/// If a module does not exist, the loss is not finite or libtorch fails.
pub fn measure(
    network: &Network,
    images: &ImageSet,
    modules: &[&str],
    settings: &MrcSettings,
    progress: &Progress,
) -> Result<Criticality, MrcError> {
    let nodes = modules
        .iter()
        .map(|module| network.graph().module(module))
        .collect::<Result<Vec<usize>, _>>()?;
    progress.say("attacking");
    if settings.halves && images.len() < 2 {
        return Err(MrcError::Halves(images.len()));
    }
    let batches = attacked(network, images, settings, progress)?;
    let network = network.copy()?;
    let stage = Stage { network: &network, batches: &batches, settings, progress };
    let (start, rows) = all(&stage, &nodes)?;
    let halves = if settings.halves { halves(&stage, &nodes)? } else { None };
    Ok(Criticality { loss: start.0, robust_accuracy: start.1, rows, halves })
}

/// The images of a set, attacked at the network's weights.
fn attacked(
    network: &Network,
    images: &ImageSet,
    settings: &MrcSettings,
    progress: &Progress,
) -> Result<Vec<Attacked>, TorchError> {
    let key = noise(settings);
    images
        .batches(settings.batch, None)
        .map(|clean| {
            let clean = clean?;
            let images = craft(network, &clean, &settings.threat, &key)?;
            progress.advance(clean.indices.len());
            let labels = clean.labels.shallow_clone();
            let adversarial = Batch { images, labels, indices: clean.indices.clone() };
            Ok(Attacked { clean, adversarial })
        })
        .collect()
}

/// The noise of the attack: the same for every perturbation.
fn noise(settings: &MrcSettings) -> NoiseKey {
    NoiseKey { seed: settings.threat.seed, attack: "pgd", restart: 0 }
}

/// Loss and accuracy before any perturbation, and a row for each node.
fn all(stage: &Stage<'_>, nodes: &[usize]) -> Result<((f64, f64), Vec<MrcRow>), MrcError> {
    let start = stage.start(nodes)?;
    if !start.loss.is_finite() {
        return Err(MrcError::NotFinite(start.loss));
    }
    // In network order, so that the activations of one module lead to those of the next.
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|place| nodes[*place]);
    let mut prefix = Prefix::default();
    let mut rows = Vec::with_capacity(nodes.len());
    for place in order {
        let node = nodes[place];
        stage.progress.say(stage.network.graph().nodes[node].name.clone());
        rows.push((place, stage.module(node, &start, &mut prefix)?));
    }
    rows.sort_by_key(|(place, _)| *place);
    Ok(((start.loss, start.accuracy), rows.into_iter().map(|(_, row)| row).collect()))
}

/// The rank correlation between the first and the second half of the images.
fn halves(stage: &Stage<'_>, nodes: &[usize]) -> Result<Option<f64>, MrcError> {
    let mut values = Vec::with_capacity(2);
    for batches in halves::split(stage.batches, stage.settings.batch)? {
        let (_, rows) = all(&Stage { batches: &batches, ..*stage }, nodes)?;
        values.push(rows.into_iter().map(|row| row.mrc).collect::<Vec<f64>>());
    }
    Ok(rank_correlation(&values[0], &values[1]))
}

#[cfg(test)]
mod closed_form_tests;
#[cfg(test)]
mod tests;
