//! Adversarial training (Madry et al. 2018, equation 2.1), and with one long step from a random
//! start Fast-AT (Wong et al. 2020, algorithm 3).

use tch::Tensor;

use super::Objective;
use super::distance::smooth_cross_entropy;
use crate::network::TorchError;

/// `mean CE(f(x'), y)`.
pub(super) fn loss(
    objective: &Objective,
    adversarial: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TorchError> {
    smooth_cross_entropy(adversarial, labels, objective.label_smoothing)
}
