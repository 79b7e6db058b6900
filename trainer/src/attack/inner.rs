//! What a training attack ascends, and from where.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use crate::network::{TorchError, cross_entropy};

/// The loss that a training attack ascends, summed over the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum InnerLoss {
    /// The cross-entropy with the labels (Madry et al. 2018).
    Ce,
    /// `KL(p(x) ‖ p(x'))`: away from what the network says of the image as it is (Zhang et al.
    /// 2019, TRADES).
    Kl,
    /// The squared distance between probabilities (Pang et al. 2022, SCORE): from the labels, or
    /// from what the network says of the image as it is, by the [`Aim`].
    Squared,
}

/// From what the attack leads away where the loss leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// From the labels.
    Labels,
    /// From the probabilities of the images as they are.
    Clean,
}

/// Where a training attack starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At a random point of the ball.
    Uniform,
    /// Beside the image: `x + 0.001 · N(0, 1)`, as TRADES' code has it. At `x` itself the gradient of
    /// its loss is zero.
    Gaussian,
}

/// What batch normalisation does while an attack searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CraftMode {
    /// Normalises by the running statistics.
    Eval,
    /// Normalises by the batch's own statistics and leaves the running ones alone (Gowal et al.
    /// 2020).
    Train,
}

/// A loss of logits with what it is measured against.
#[derive(Debug)]
pub(super) struct Ascent<'a> {
    pub(super) inner: InnerLoss,
    pub(super) labels: &'a Tensor,
    /// The probabilities of the images as they are, where the loss is measured against them.
    pub(super) clean: Option<Tensor>,
}

impl Ascent<'_> {
    /// The sum over the images: no image's gradient depends on how many others there are, nor
    /// shrinks with them to what low precision flushes to zero.
    pub(super) fn loss(&self, logits: &Tensor) -> Result<Tensor, TorchError> {
        match (self.inner, &self.clean) {
            (InnerLoss::Kl, Some(clean)) => {
                let log = logits.f_log_softmax(1, Kind::Float)?;
                Ok(log.f_kl_div(clean, Reduction::Sum, false)?)
            }
            (InnerLoss::Squared, clean) => {
                let probabilities = logits.f_softmax(1, Kind::Float)?;
                let against = match clean {
                    Some(clean) => clean.shallow_clone(),
                    None => self.labels.f_one_hot(logits.size2()?.1)?,
                };
                Ok(probabilities.f_sub(&against)?.f_square()?.f_sum(Kind::Float)?)
            }
            _ => cross_entropy(logits, self.labels, Reduction::Sum),
        }
    }
}
