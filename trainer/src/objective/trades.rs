//! TRADES (Zhang et al. 2019, equation 5).

use tch::{Kind, Tensor};

use super::Objective;
use super::distance::{kl, smooth_cross_entropy};
use crate::network::TorchError;

/// `mean CE(f(x), y) + β mean KL(p(x) ‖ p(x'))`, with `β = 1/λ`.
pub(super) fn loss(
    objective: &Objective,
    clean: &Tensor,
    adversarial: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TorchError> {
    let natural = smooth_cross_entropy(clean, labels, objective.label_smoothing)?;
    let robust = kl(clean, adversarial)?.f_mean(Kind::Float)?;
    Ok(robust.f_mul_scalar(objective.beta)?.f_add(&natural)?)
}
