//! What a training step minimises.

mod at;
mod standard;

use std::fmt;
use std::str::FromStr;

use rift_models::threat::{AttackSpec, NoiseKey};
use serde::{Deserialize, Serialize};
use tch::{Reduction, Tensor};

use crate::data::Batch;
use crate::network::{Mode, Network, TorchError, cross_entropy};

/// A way to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Cross-entropy on the images as they are.
    Standard,
    /// Adversarial training: cross-entropy on the worst images of the ball (Madry et al. 2018).
    At,
}

/// A method's name that is not known.
#[derive(Debug, thiserror::Error)]
#[error("unknown method `{0}`, expected `standard` or `at`")]
pub struct MethodError(String);

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "standard" => Ok(Self::Standard),
            "at" => Ok(Self::At),
            _ => Err(MethodError(text.to_owned())),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::At => "at",
        })
    }
}

/// A loss that can be minimised, and how many of the images it was taken on were right.
#[derive(Debug)]
pub struct StepLoss {
    /// The mean loss over the batch: a scalar with a graph behind it.
    pub loss: Tensor,
    /// How many of the images that were trained on were classified correctly: a scalar.
    pub correct: Tensor,
}

impl Method {
    /// The loss of one batch; batch normalisation trains, and takes its statistics from the images
    /// that are trained on.
    ///
    /// `key` keys the noise of the attack, image by image.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn loss(
        self,
        network: &Network,
        batch: &Batch,
        spec: &AttackSpec,
        key: &NoiseKey,
    ) -> Result<StepLoss, TorchError> {
        match self {
            Self::Standard => standard::loss(network, batch),
            Self::At => at::loss(network, batch, spec, key),
        }
    }

    /// Whether it trains against an attack.
    pub fn is_adversarial(self) -> bool {
        match self {
            Self::Standard => false,
            Self::At => true,
        }
    }
}

/// The mean cross-entropy on `images` in training mode.
fn cross_entropy_on(
    network: &Network,
    images: &Tensor,
    labels: &Tensor,
) -> Result<StepLoss, TorchError> {
    let logits = network.forward(images, Mode::Train)?;
    let loss = cross_entropy(&logits, labels, Reduction::Mean)?;
    let correct = logits.f_detach()?.f_argmax(1, false)?.f_eq_tensor(labels)?;
    Ok(StepLoss { loss, correct: correct.f_sum(tch::Kind::Int64)? })
}
