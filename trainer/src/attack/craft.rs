//! Adversarial images to train on.

use rift_models::threat::{AttackSpec, NoiseKey};
use tch::{Kind, Tensor};

use super::ball::Ball;
use super::inner::{Aim, Ascent, CraftMode, InnerLoss, Start};
use crate::data::Batch;
use crate::network::{Mode, Network, TorchError, gradient_in};

/// How a training finds its images: all steps for every image, no gradient for any parameter.
///
/// Neither early stop nor restarts of the specification apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Crafting {
    /// Ball and steps.
    pub spec: AttackSpec,
    /// What is ascended.
    pub inner: InnerLoss,
    /// From what [`InnerLoss::Squared`] leads away.
    pub aim: Aim,
    /// Where it starts, if the specification has a random start.
    pub start: Start,
    /// What batch normalisation does meanwhile.
    pub mode: CraftMode,
}

impl Crafting {
    /// Projected gradient descent on the cross-entropy from a random point of the ball, batch
    /// normalisation in evaluation mode.
    pub fn pgd(spec: AttackSpec) -> Self {
        let (inner, aim, start) = (InnerLoss::Ce, Aim::Labels, Start::Uniform);
        Self { spec, inner, aim, start, mode: CraftMode::Eval }
    }

    /// The images that the attack finds; the random start is keyed by `key` and each image's
    /// index.
    ///
    /// # Shapes
    /// `N × C × H × W`, as the batch.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn craft(
        &self,
        network: &Network,
        batch: &Batch,
        key: &NoiseKey,
    ) -> Result<Tensor, TorchError> {
        // Normalisation by the batch's own statistics cannot be folded into the convolutions.
        let (network, mode) = match self.mode {
            CraftMode::Eval => (network.folded()?, Mode::Eval),
            CraftMode::Train => (network.frozen()?, Mode::Batch),
        };
        let ascent = self.ascent(&network, batch, mode)?;
        let ball = Ball::new(&batch.images, &self.spec)?;
        let mut images = if self.spec.random_start {
            ball.random(self.start, key, &batch.indices)?
        } else {
            ball.centre()
        };
        for _ in 0..self.spec.steps {
            let (_, gradient) = gradient_in(&network, &images, mode, |logits| ascent.loss(logits))?;
            images = ball.step(&images, &gradient)?;
        }
        Ok(images)
    }

    /// The loss; what the network says of the images as they are is asked once, not at each step.
    fn ascent<'a>(
        &self,
        network: &Network,
        batch: &'a Batch,
        mode: Mode,
    ) -> Result<Ascent<'a>, TorchError> {
        let against_clean = match self.inner {
            InnerLoss::Ce => false,
            InnerLoss::Kl => true,
            InnerLoss::Squared => self.aim == Aim::Clean,
        };
        let clean = || -> Result<Tensor, TorchError> {
            let logits = tch::no_grad(|| network.forward(&batch.images, mode))?;
            Ok(logits.f_softmax(1, Kind::Float)?)
        };
        let clean = against_clean.then(clean).transpose()?;
        Ok(Ascent { inner: self.inner, labels: &batch.labels, clean })
    }
}

/// As [`Crafting::pgd`].
///
/// # Errors
/// If libtorch fails.
pub fn craft(
    network: &Network,
    batch: &Batch,
    spec: &AttackSpec,
    key: &NoiseKey,
) -> Result<Tensor, TorchError> {
    Crafting::pgd(spec.clone()).craft(network, batch, key)
}
