//! Module robust criticality: how much robustness hangs on one layer's weights.
//!
//! The adversarial images are made once, at the network's own weights, and stay as they are. Then
//! the weights `w` of one module after the other go up the mean loss on these images,
//!
//! ```text
//! δ ← project(δ + η ∇ / ‖∇‖_F),   ‖δ‖_F ≤ ε ‖w‖_F,
//! ```
//!
//! and the criticality is the largest rise of the loss on the way. Batch normalisation stays in
//! evaluation mode and nothing else moves, so the activations that enter the module are the same in
//! every pass: they are computed once and only the rest of the network is run again.
//!
//! The projection comes after every step, as in the paper; the reference implementation projects
//! once an epoch and lets the weights run off in between.
//!
//! # References
//! Robust Critical Fine-Tuning, arXiv 2308.02533, definition 3.1 and algorithm 1.

use rift_models::arch::{Role, UnknownModule};
use rift_models::artifact::MrcRow;
use rift_models::threat::{AttackSpec, NoiseKey};
use tch::{Kind, Reduction, Tensor};

use crate::attack::craft;
use crate::data::{Batch, ImageSet};
use crate::network::{Activations, Mode, Network, TorchError, cross_entropy};
use crate::record::Progress;

/// The length of one ascent step, as a share of the ball's radius: a quarter reaches the border in
/// four of the paper's ten steps and leaves six to follow it.
const STEP: f64 = 0.25;

/// How criticality is measured.
#[derive(Clone, Debug)]
pub struct MrcSettings {
    /// The attack that makes the adversarial images; all of its steps, one restart.
    pub threat: AttackSpec,
    /// Radius of the weight ball relative to the weights' Frobenius norm (the paper's ε, 0.1).
    pub radius: f64,
    /// Ascent steps (the paper's T, 10), each along the gradient over all images.
    pub steps: usize,
    /// Images in one pass.
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
        n * (1 + modules * self.steps)
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
    let batches = adversarial(network, images, settings, progress)?;
    let network = network.copy()?;
    let stage = Stage { network: &network, batches: &batches, n: images.len(), settings, progress };
    let start = tch::no_grad(|| stage.pass(&[], 0, None))?;
    if !start.loss.is_finite() {
        return Err(MrcError::NotFinite(start.loss));
    }
    let mut rows = Vec::with_capacity(nodes.len());
    for (module, node) in modules.iter().zip(nodes) {
        progress.say(*module);
        rows.push(stage.module(module, node, &start)?);
    }
    Ok(Criticality { loss: start.loss, robust_accuracy: start.accuracy, rows })
}

/// The images of a set, attacked at the network's weights.
fn adversarial(
    network: &Network,
    images: &ImageSet,
    settings: &MrcSettings,
    progress: &Progress,
) -> Result<Vec<Batch>, TorchError> {
    let key = NoiseKey { seed: settings.threat.seed, attack: "pgd", restart: 0 };
    images
        .batches(settings.batch, None)
        .map(|batch| {
            let batch = batch?;
            let images = craft(network, &batch, &settings.threat, &key)?;
            progress.advance(batch.indices.len());
            Ok(Batch { images, ..batch })
        })
        .collect()
}

/// What all modules share.
struct Stage<'a> {
    network: &'a Network,
    batches: &'a [Batch],
    n: usize,
    settings: &'a MrcSettings,
    progress: &'a Progress,
}

/// The network on all adversarial images.
struct Pass {
    /// Mean loss.
    loss: f64,
    accuracy: f64,
    /// The summed loss's gradient with respect to the module's weight, where it was asked for.
    gradient: Option<Tensor>,
}

impl Stage<'_> {
    fn module(&self, module: &str, node: usize, start: &Pass) -> Result<MrcRow, MrcError> {
        let mut row = MrcRow {
            module: module.to_owned(),
            weights: 0,
            mrc: 0.0,
            robust_accuracy_drop: 0.0,
            step: 0,
        };
        let parameter = self.network.graph().parameter_of(node, Role::Weight);
        let Some(weight) = parameter.and_then(|p| self.network.tensor(&p.name)) else {
            return Ok(row);
        };
        row.weights = weight.numel();
        let original = weight.f_detach()?.f_to_dtype(Kind::Float, false, true)?;
        self.network.train_where(|p| p.node == node && p.spec.role == Role::Weight)?;
        let prefix = tch::no_grad(|| self.prefix(node))?;
        let ascended = self.ascend(&mut row, [weight, &original], (&prefix, node), start);
        tch::no_grad(|| weight.shallow_clone().f_copy_(&original))?;
        self.network.freeze()?;
        ascended?;
        Ok(row)
    }

    /// The activations that enter the node, for as many batches as there is memory for.
    fn prefix(&self, node: usize) -> Result<Vec<Activations>, TorchError> {
        let mut kept = Vec::new();
        let mut bytes = 0;
        for batch in self.batches {
            let activations = self.network.forward_until(&batch.images, node, Mode::Eval)?;
            bytes += activations.values().values().map(|t| t.numel() * 4).sum::<usize>();
            if bytes > self.settings.cache_bytes {
                break;
            }
            kept.push(activations);
        }
        Ok(kept)
    }

    /// Goes up the loss within the ball around `original` and records the largest rise.
    fn ascend(
        &self,
        row: &mut MrcRow,
        [weight, original]: [&Tensor; 2],
        (prefix, node): (&[Activations], usize),
        start: &Pass,
    ) -> Result<(), MrcError> {
        let radius = self.settings.radius * length(original)?;
        let mut gradient = match self.settings.steps {
            0 => None,
            _ => self.pass(prefix, node, Some(weight))?.gradient,
        };
        let mut judged = 0;
        for step in 1..=self.settings.steps {
            self.progress.advance(self.n);
            let Some(direction) = gradient.take() else { continue };
            match climb([weight, original], &direction, radius)? {
                Climb::Up => {}
                // Nowhere to go from here; what was found so far stands.
                Climb::Flat => {
                    judged += 1;
                    continue;
                }
                Climb::Lost => continue,
            }
            let last = step == self.settings.steps;
            let pass = if last {
                tch::no_grad(|| self.pass(prefix, node, None))?
            } else {
                self.pass(prefix, node, Some(weight))?
            };
            if !pass.loss.is_finite() {
                continue;
            }
            judged += 1;
            if pass.loss - start.loss > row.mrc {
                row.mrc = pass.loss - start.loss;
                row.robust_accuracy_drop = start.accuracy - pass.accuracy;
                row.step = step;
            }
            gradient = pass.gradient;
        }
        // A module that breaks the network at once must not pass for the least critical one.
        if judged == 0 && self.settings.steps > 0 {
            return Err(MrcError::Lost { module: row.module.clone() });
        }
        Ok(())
    }

    /// Runs the network from `node` on over all batches.
    fn pass(
        &self,
        prefix: &[Activations],
        node: usize,
        weight: Option<&Tensor>,
    ) -> Result<Pass, TorchError> {
        let (mut loss, mut correct) = (0.0, 0);
        let mut gradient: Option<Tensor> = None;
        for (index, batch) in self.batches.iter().enumerate() {
            let logits = if let Some(activations) = prefix.get(index) {
                self.network.forward_from(activations, Mode::Eval)?
            } else {
                let before = || self.network.forward_until(&batch.images, node, Mode::Eval);
                self.network.forward_from(&tch::no_grad(before)?, Mode::Eval)?
            };
            let sum = cross_entropy(&logits, &batch.labels, Reduction::Sum)?;
            if let Some(weight) = weight {
                let grown = Tensor::f_run_backward(&[&sum], &[weight], false, false)?;
                gradient = match (gradient.take(), grown.into_iter().next()) {
                    (Some(mut total), Some(more)) => Some(total.f_add_(&more)?),
                    (total, more) => more.or(total),
                };
            }
            loss += sum.f_double_value(&[])?;
            let right = logits.f_argmax(1, false)?.f_eq_tensor(&batch.labels)?;
            correct += right.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        }
        let n = self.n as f64;
        Ok(Pass { loss: loss / n, accuracy: correct as f64 / n, gradient })
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Climb {
    /// The weights moved.
    Up,
    /// The gradient or the ball is zero: the weights are where they were.
    Flat,
    /// The gradient is not finite: the weights are where they were.
    Lost,
}

/// Moves `weight` one step along `direction` and back into the ball of `radius` around
/// `original`.
fn climb(
    [weight, original]: [&Tensor; 2],
    direction: &Tensor,
    radius: f64,
) -> Result<Climb, TorchError> {
    let slope = length(direction)?;
    if !slope.is_finite() {
        return Ok(Climb::Lost);
    }
    if slope == 0.0 || radius == 0.0 {
        return Ok(Climb::Flat);
    }
    tch::no_grad(|| {
        // In `f64`, where the reciprocal of a confident network's gradient does not overflow.
        let step = direction.f_to_kind(Kind::Double)?.f_mul_scalar_(STEP * radius / slope)?;
        let mut delta = weight.f_sub(original)?.f_to_kind(Kind::Double)?.f_add_(&step)?;
        let far = length(&delta)?;
        if far > radius {
            delta = delta.f_mul_scalar_(radius / far)?;
        }
        weight.shallow_clone().f_copy_(&delta.f_add_(original)?)?;
        Ok(Climb::Up)
    })
}

/// The Frobenius norm, summed in `f64`.
fn length(tensor: &Tensor) -> Result<f64, TorchError> {
    Ok(tensor.f_detach()?.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests;
