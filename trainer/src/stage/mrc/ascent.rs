//! The way up the loss, within a ball of weights.

use rift_models::artifact::{Ascent, MrcRow};
use tch::{Kind, Tensor};

use super::MrcError;
use super::pass::{Module, Pass, Start};
use crate::network::TorchError;

/// The length of one step, as a share of the ball's radius: half of it reaches the border in two of the
/// paper's ten steps and leaves eight to follow it. With a quarter those left are too few and too
/// short: modules of convolutional networks end up to 4 % below their maximum.
const STEP: f64 = 0.5;

/// The reference implementation's learning rate.
const RATE: f64 = 1.0;

impl Module<'_> {
    /// Goes up the loss within the ball around the weights and records the largest rise.
    pub(super) fn ascend(&self, row: &mut MrcRow, start: &Start) -> Result<(), MrcError> {
        let radius = self.stage.settings.radius * length(self.original)?;
        let judged = match self.stage.settings.ascent {
            Ascent::Normalized => self.normalized(row, start, radius)?,
            Ascent::Reference => self.reference(row, start, radius)?,
        };
        // A module that breaks the network at once must not pass for the least critical one.
        if judged == 0 && self.stage.settings.steps > 0 {
            return Err(MrcError::Lost { module: row.module.clone() });
        }
        Ok(())
    }

    /// Steps along the gradient over all images; gives how many were judged. After a loss that is not
    /// finite it goes back and on in steps half as long.
    fn normalized(&self, row: &mut MrcRow, start: &Start, radius: f64) -> Result<usize, MrcError> {
        let steps = self.stage.settings.steps;
        let n = self.stage.n();
        let Some(first) = start.gradients.get(&self.node) else { return Ok(0) };
        let (mut direction, mut foot) = (first.shallow_clone(), copy(self.weight)?);
        let (mut judged, mut stride) = (0, STEP * radius);
        for step in 1..=steps {
            self.stage.progress.advance(n);
            match climb([self.weight, self.original], &direction, [stride, radius])? {
                Climb::Up => {}
                // Nowhere to go from here; what was found so far stands.
                Climb::Flat => {
                    judged += 1;
                    self.stage.progress.advance(n * (steps - step));
                    break;
                }
                Climb::Lost => {
                    row.rejected += 1;
                    continue;
                }
            }
            let pass = self.pass(step < steps)?;
            if !pass.loss.is_finite() {
                row.rejected += 1;
                tch::no_grad(|| self.weight.shallow_clone().f_copy_(&foot))?;
                stride /= 2.0;
                continue;
            }
            judged += 1;
            keep(row, start, &pass, step);
            if let Some(gradient) = pass.gradient {
                direction = gradient;
                foot = copy(self.weight)?;
            }
        }
        Ok(judged)
    }

    /// Epochs of stochastic gradient steps, into the ball after each; gives how many were judged. A
    /// batch whose gradient is not finite moves nothing, and an epoch that leaves the numbers goes
    /// back to where it began.
    fn reference(&self, row: &mut MrcRow, start: &Start, radius: f64) -> Result<usize, MrcError> {
        let mut judged = 0;
        for epoch in 1..=self.stage.settings.steps {
            self.stage.progress.advance(self.stage.n());
            let foot = copy(self.weight)?;
            let mut lost = self.epoch()?;
            if project([self.weight, self.original], radius)? {
                let pass = self.pass(false)?;
                if pass.loss.is_finite() {
                    judged += 1;
                    keep(row, start, &pass, epoch);
                } else {
                    lost = true;
                }
            } else {
                lost = true;
            }
            if lost {
                row.rejected += 1;
            }
            if !length(self.weight)?.is_finite() {
                tch::no_grad(|| self.weight.shallow_clone().f_copy_(&foot))?;
            }
        }
        Ok(judged)
    }

    /// A step up for each batch; whether a gradient was not finite.
    fn epoch(&self) -> Result<bool, TorchError> {
        let mut lost = false;
        for index in 0..self.stage.batches.len() {
            let gradient = self.batch_gradient(index)?;
            if length(&gradient)?.is_finite() {
                let step = gradient.f_mul_scalar(RATE)?;
                let _ = tch::no_grad(|| self.weight.shallow_clone().f_add_(&step))?;
            } else {
                lost = true;
            }
        }
        Ok(lost)
    }
}

/// Records a pass if it is the highest so far.
fn keep(row: &mut MrcRow, start: &Start, pass: &Pass, step: usize) {
    if pass.loss - start.loss > row.mrc {
        row.mrc = pass.loss - start.loss;
        row.robust_accuracy_drop = start.accuracy - pass.accuracy;
        row.step = step;
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Climb {
    /// The weights moved.
    Up,
    /// The gradient or the ball is zero: the weights are where they were.
    Flat,
    /// The gradient is not finite: the weights are where they were.
    Lost,
}

/// Moves `weight` by `stride` along `direction` and back into the ball of `radius` around
/// `original`.
pub(super) fn climb(
    [weight, original]: [&Tensor; 2],
    direction: &Tensor,
    [stride, radius]: [f64; 2],
) -> Result<Climb, TorchError> {
    let slope = length(direction)?;
    if !slope.is_finite() {
        return Ok(Climb::Lost);
    }
    if slope == 0.0 || radius == 0.0 {
        return Ok(Climb::Flat);
    }
    tch::no_grad(|| {
        // In `f64`, where the reciprocal of a confident network's gradient does not overflow.
        let step = direction.f_to_kind(Kind::Double)?.f_mul_scalar_(stride / slope)?;
        let delta = weight.f_sub(original)?.f_to_kind(Kind::Double)?.f_add_(&step)?;
        place([weight, original], delta, radius)?;
        Ok(Climb::Up)
    })
}

/// Brings `weight` back into the ball; whether it is made of numbers.
pub(super) fn project([weight, original]: [&Tensor; 2], radius: f64) -> Result<bool, TorchError> {
    tch::no_grad(|| {
        let delta = weight.f_sub(original)?.f_to_kind(Kind::Double)?;
        if !length(&delta)?.is_finite() {
            return Ok(false);
        }
        place([weight, original], delta, radius)?;
        Ok(true)
    })
}

/// Sets `weight` to `original + delta`, with `delta` no longer than `radius`.
fn place(
    [weight, original]: [&Tensor; 2],
    mut delta: Tensor,
    radius: f64,
) -> Result<(), TorchError> {
    let far = length(&delta)?;
    if far > radius {
        delta = delta.f_mul_scalar_(radius / far)?;
    }
    weight.shallow_clone().f_copy_(&delta.f_add_(original)?)?;
    Ok(())
}

fn copy(tensor: &Tensor) -> Result<Tensor, TorchError> {
    Ok(tensor.f_detach()?.f_to_dtype(Kind::Float, false, true)?)
}

/// The Frobenius norm, summed in `f64`.
pub(super) fn length(tensor: &Tensor) -> Result<f64, TorchError> {
    Ok(tensor.f_detach()?.f_to_kind(Kind::Double)?.f_norm()?.f_double_value(&[])?)
}
