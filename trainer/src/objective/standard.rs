//! Training on the images as they are.

use super::{StepLoss, cross_entropy_on};
use crate::data::Batch;
use crate::network::{Network, TorchError};

/// `mean CE(f(x), y)`.
pub(super) fn loss(network: &Network, batch: &Batch) -> Result<StepLoss, TorchError> {
    cross_entropy_on(network, &batch.images, &batch.labels)
}
