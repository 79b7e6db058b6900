//! SCORE (Pang et al. 2022, section 5): the squared error of the probabilities, clipped.
//!
//! As in the authors' code, an image whose loss is below that of a prediction which gives the
//! label `1 − c` and shares `c` out evenly, `c² K / (K − 1)`, is good enough and gives no gradient:
//!
//! ```text
//! ℓ ← max(ℓ − c² K / (K − 1), 0)
//! ```
//!
//! They take `c` = 0.4 for the form of adversarial training and 0.3 for that of TRADES.

use tch::{Kind, Tensor};

use super::Objective;
use super::distance::{smooth_labels, squared};
use crate::network::TorchError;

/// With `β = 0` the form of adversarial training, `ℓ = ‖p(x') − y‖²`; else that of TRADES,
/// `ℓ = ‖p(x) − y‖² + β ‖p(x') − p(x)‖²`. The mean of the clipped `ℓ`.
pub(super) fn loss(
    objective: &Objective,
    clean: Option<&Tensor>,
    adversarial: &Tensor,
    labels: &Tensor,
) -> Result<Tensor, TorchError> {
    let (_, classes) = adversarial.size2()?;
    let labels = smooth_labels(labels, classes, objective.label_smoothing)?;
    let adversarial = adversarial.f_softmax(1, Kind::Float)?;
    let each = match clean {
        None => squared(&adversarial, &labels)?,
        Some(clean) => {
            let clean = clean.f_softmax(1, Kind::Float)?;
            let robust = squared(&adversarial, &clean)?.f_mul_scalar(objective.beta)?;
            squared(&clean, &labels)?.f_add(&robust)?
        }
    };
    let bound = objective.loss_clip.powi(2) * classes as f64 / (classes - 1).max(1) as f64;
    Ok(each.f_sub_scalar(bound)?.f_relu()?.f_mean(Kind::Float)?)
}
