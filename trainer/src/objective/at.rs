//! Adversarial training (Madry et al. 2018, equation 2.1).

use rift_models::threat::{AttackSpec, NoiseKey};

use super::{StepLoss, cross_entropy_on};
use crate::attack::craft;
use crate::data::Batch;
use crate::network::{Network, TorchError};

/// `mean CE(f(x'), y)` at the `x'` that PGD finds in the ball around each `x`.
pub(super) fn loss(
    network: &Network,
    batch: &Batch,
    spec: &AttackSpec,
    key: &NoiseKey,
) -> Result<StepLoss, TorchError> {
    let adversarial = craft(network, batch, spec, key)?;
    cross_entropy_on(network, &adversarial, &batch.labels)
}
