//! MART (Wang et al. 2020, equations 7, 8 and 11).
//!
//! The reference code takes `log(1.0001 − p')` of probabilities, and diverges under weight
//! perturbation. Here everything is written in log-sum-exp form: with
//! `p'_k = exp z_k / Σ_j exp z_j` is
//!
//! ```text
//! −log(1 − p'_k) = log(1 + exp(z_k − log Σ_{j≠k} exp z_j)) = softplus(z_k − lse_{j≠k} z)
//! ```
//!
//! which grows only linearly in the logits.

use tch::{Kind, Reduction, Tensor};

use super::Objective;
use super::distance::kl;
use crate::network::{TorchError, cross_entropy};

/// `mean [CE(f(x'), y) − log(1 − max_{k≠y} p_k(x'))] + β mean KL(p(x) ‖ p(x')) (1 − p_y(x))`.
pub(super) fn loss(
    objective: &Objective,
    clean: &Tensor,
    adversarial: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TorchError> {
    let rows = labels.f_unsqueeze(1)?;
    let boosted = cross_entropy(adversarial, labels, Reduction::Mean)?
        .f_add(&margin(adversarial, &rows)?.f_mean(Kind::Float)?)?;
    let right = clean.f_log_softmax(1, Kind::Float)?.f_gather(1, &rows, false)?.f_squeeze_dim(1)?;
    // 1 − p, exact where p is nearly 1.
    let doubt = right.f_expm1()?.f_neg()?;
    let robust = kl(clean, adversarial)?.f_mul(&doubt)?.f_mean(Kind::Float)?;
    Ok(robust.f_mul_scalar(objective.beta)?.f_add(&boosted)?)
}

/// `−log(1 − p_k)` of each image for the wrong class `k` of the largest logit.
fn margin(logits: &Tensor, rows: &Tensor) -> Result<Tensor, TorchError> {
    let nothing = f64::NEG_INFINITY;
    let wrong = logits.f_detach()?.f_scatter_value(1, rows, nothing)?.f_argmax(1, true)?;
    let others = logits.f_scatter_value(1, &wrong, nothing)?.f_logsumexp([1], false)?;
    let largest = logits.f_gather(1, &wrong, false)?.f_squeeze_dim(1)?;
    Ok(largest.f_sub(&others)?.f_softplus()?)
}
