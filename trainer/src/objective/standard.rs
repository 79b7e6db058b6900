//! Training on the images as they are.

use tch::Tensor;

use super::Objective;
use super::distance::smooth_cross_entropy;
use crate::network::TorchError;

/// `mean CE(f(x), y)`.
pub(super) fn loss(
    objective: &Objective,
    clean: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TorchError> {
    smooth_cross_entropy(clean, labels, objective.label_smoothing)
}
