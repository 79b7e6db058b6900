//! Gradients with respect to images.

use tch::{Reduction, Tensor};

use super::layout::channels_last;
use super::{Mode, Network, TorchError};

/// The cross-entropy of `logits`, by the class of each row.
///
/// # Shapes
/// Logits `N × classes`, labels `N` of `i64`; a scalar, or `N` losses without reduction.
///
/// # Errors
/// If libtorch fails.
pub fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    reduction: Reduction,
) -> Result<Tensor, TorchError> {
    Ok(logits.f_cross_entropy_loss(labels, None::<&Tensor>, reduction, -100, 0.0)?)
}

/// The logits of `images`, and the gradient of their summed cross-entropy with respect to them,
/// with batch normalisation in evaluation mode.
///
/// The sum makes every image's gradient independent of the batch. No parameter takes a gradient,
/// which saves a third of the work, and batch normalisation is folded into the convolutions
/// ([`Network::folded`]), which saves most of the rest of what is not a convolution.
///
/// # Shapes
/// Images and gradient `N × C × H × W`, labels `N` of `i64`, logits `N × classes`.
///
/// # Errors
/// If libtorch fails.
pub fn input_gradient(
    network: &Network,
    images: &Tensor,
    labels: &Tensor,
) -> Result<(Tensor, Tensor), TorchError> {
    let network = network.folded()?;
    gradient_of(&network, images, |logits| cross_entropy(logits, labels, Reduction::Sum))
}

/// The logits of `images` and the gradient of `loss` with respect to them, in evaluation mode.
///
/// The backward pass goes to the images alone; with the parameters frozen
/// ([`Network::frozen`], [`Network::folded`]) libtorch does not even keep what the others need.
///
/// # Errors
/// If libtorch fails.
pub fn gradient_of(
    network: &Network,
    images: &Tensor,
    loss: impl Fn(&Tensor) -> Result<Tensor, TorchError>,
) -> Result<(Tensor, Tensor), TorchError> {
    gradient_in(network, images, Mode::Eval, loss)
}

/// As [`gradient_of`], in any mode.
///
/// # Errors
/// If libtorch fails.
pub fn gradient_in(
    network: &Network,
    images: &Tensor,
    mode: Mode,
    loss: impl Fn(&Tensor) -> Result<Tensor, TorchError>,
) -> Result<(Tensor, Tensor), TorchError> {
    let images = channels_last(&images.f_detach()?)?.f_set_requires_grad(true)?;
    let logits = network.forward(&images, mode)?;
    let loss = loss(&logits)?;
    let mut gradients = Tensor::f_run_backward(&[&loss], &[&images], false, false)?;
    let gradient = gradients.pop().ok_or_else(|| TorchError::missing("gradient"))?;
    Ok((logits.f_detach()?, gradient))
}
