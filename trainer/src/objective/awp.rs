//! Adversarial weight perturbation (Wu et al. 2020, equations 6 to 9), around any objective.

use rift_models::arch::Role;
use tch::{Kind, Tensor};

use super::StepLoss;
use crate::network::{Mode, Network, TorchError};

/// So small that it changes no norm but zero.
const TINY: f64 = 1e-20;

/// The loss at the worst weights near the network's, and its gradients there for the parameters
/// that train, in their order.
///
/// Each weight of a convolution or linear layer goes up the gradient `g` of the loss by
/// `γ ‖w‖ g / ‖g‖`. The reference code gets there by a step of a second network on the negated loss,
/// of which it keeps the direction: the step's length cancels. That pass normalises by the batch's
/// statistics and leaves the running ones alone; only the second moves them. Afterwards the weights
/// are what they were, bit for bit, so that the optimiser moves the weights themselves.
///
/// # Errors
/// If libtorch fails; the weights are restored then, too.
pub fn gradients(
    network: &Network,
    gamma: f64,
    loss: impl Fn(Mode) -> Result<StepLoss, TorchError>,
) -> Result<(StepLoss, Vec<Tensor>), TorchError> {
    let weights: Vec<&Tensor> = network
        .trained()
        .filter(|(parameter, _)| parameter.spec.role == Role::Weight)
        .map(|(_, tensor)| tensor)
        .collect();
    let ascent = Tensor::f_run_backward(&[loss(Mode::Batch)?.loss], &weights, false, false)?;
    let kept = tch::no_grad(|| copies(&weights))?;
    let worst = tch::no_grad(|| perturb(&weights, &ascent, gamma));
    let found = worst.and_then(|()| plain_gradients(network, loss(Mode::Train)?));
    tch::no_grad(|| restore(&weights, &kept))?;
    found
}

/// The gradients of a loss for the parameters that train, in their order.
///
/// # Errors
/// If libtorch fails.
pub fn plain_gradients(
    network: &Network,
    step: StepLoss,
) -> Result<(StepLoss, Vec<Tensor>), TorchError> {
    let tensors: Vec<&Tensor> = network.trained().map(|(_, tensor)| tensor).collect();
    let gradients = Tensor::f_run_backward(&[&step.loss], &tensors, false, false)?;
    Ok((step, gradients))
}

fn copies(weights: &[&Tensor]) -> Result<Vec<Tensor>, TorchError> {
    weights
        .iter()
        .map(|weight| Ok(weight.f_detach()?.f_to_dtype(Kind::Float, false, true)?))
        .collect()
}

fn perturb(weights: &[&Tensor], ascent: &[Tensor], gamma: f64) -> Result<(), TorchError> {
    for (weight, gradient) in weights.iter().zip(ascent) {
        let length = gradient.f_norm()?.f_add_scalar(TINY)?;
        let scale = weight.f_norm()?.f_mul_scalar(gamma)?.f_div(&length)?;
        let _ = weight.shallow_clone().f_add_(&gradient.f_mul(&scale)?)?;
    }
    Ok(())
}

fn restore(weights: &[&Tensor], kept: &[Tensor]) -> Result<(), TorchError> {
    for (weight, kept) in weights.iter().zip(kept) {
        weight.shallow_clone().f_copy_(kept)?;
    }
    Ok(())
}
