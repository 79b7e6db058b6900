//! What the objectives are made of: losses of logits, a number an image.

use tch::{Kind, Reduction, Tensor};

use crate::network::TorchError;

/// The cross-entropy with labels that keep `1 − ε` of their weight and give the other classes
/// `ε / (K − 1)` each, as SCORE's and Gowal et al.'s code have it; the mean over the images.
///
/// PyTorch's own smoothing gives `ε' / K` to every class, the label included: it is the same at
/// `ε' = ε K / (K − 1)`.
pub(super) fn smooth_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    smoothing: f64,
) -> Result<Tensor, TorchError> {
    let (_, classes) = logits.size2()?;
    let smoothing = smoothing * classes as f64 / (classes - 1).max(1) as f64;
    let (weight, mean) = (None::<&Tensor>, Reduction::Mean);
    Ok(logits.f_cross_entropy_loss(labels, weight, mean, -100, smoothing)?)
}

/// `KL(p ‖ p')` of each image, by the logits of both. The gradient goes through both.
pub(super) fn kl(clean: &Tensor, adversarial: &Tensor) -> Result<Tensor, TorchError> {
    let log_clean = clean.f_log_softmax(1, Kind::Float)?;
    let log_adversarial = adversarial.f_log_softmax(1, Kind::Float)?;
    let terms = log_clean.f_exp()?.f_mul(&log_clean.f_sub(&log_adversarial)?)?;
    Ok(terms.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?)
}

/// The squared distance of each image's probabilities from others.
pub(super) fn squared(probabilities: &Tensor, others: &Tensor) -> Result<Tensor, TorchError> {
    let squares = probabilities.f_sub(others)?.f_square()?;
    Ok(squares.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?)
}

/// The labels as probabilities, smoothed as in [`smooth_cross_entropy`].
pub(super) fn smooth_labels(
    labels: &Tensor,
    classes: i64,
    smoothing: f64,
) -> Result<Tensor, TorchError> {
    let other = smoothing / (classes - 1).max(1) as f64;
    let labels = labels.f_one_hot(classes)?.f_to_kind(Kind::Float)?;
    Ok(labels.f_mul_scalar(1.0 - smoothing - other)?.f_add_scalar(other)?)
}
