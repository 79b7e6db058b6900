//! The set of images that the adversary may show: a norm ball within the box `[0, 1]`.

use rift_models::threat::noise::random_start;
use rift_models::threat::{AttackSpec, NoiseKey, Norm};
use tch::Tensor;

use super::inner::Start;
use crate::network::device::upload;
use crate::network::{TorchError, channels_last};

/// The spread of [`Start::Gaussian`], in pixel units.
const SPREAD: f32 = 1e-3;

/// The allowed images around each image of a batch.
#[derive(Debug)]
pub(super) struct Ball {
    norm: Norm,
    eps: f32,
    step: f32,
    centre: Tensor,
    /// The bounds of every value, box included.
    lower: Tensor,
    upper: Tensor,
}

impl Ball {
    /// The images that `spec` allows around those of `centre`, `N × C × H × W`.
    pub(super) fn new(centre: &Tensor, spec: &AttackSpec) -> Result<Self, TorchError> {
        let (eps, step) = (spec.eps.value(), spec.step.value());
        let centre = channels_last(centre)?;
        let (lower, upper) = match spec.norm {
            Norm::Linf => {
                let (lower, upper) =
                    (centre.f_sub_scalar(f64::from(eps))?, centre.f_add_scalar(f64::from(eps))?);
                (lower.f_clamp_min(0.0)?, upper.f_clamp_max(1.0)?)
            }
            Norm::L2 => (centre.f_zeros_like()?, centre.f_ones_like()?),
        };
        Ok(Self { norm: spec.norm, eps, step, centre, lower, upper })
    }

    /// The rows of the ball at `places`.
    pub(super) fn select(&self, places: &Tensor) -> Result<Self, TorchError> {
        let row = |tensor: &Tensor| tensor.f_index_select(0, places);
        Ok(Self {
            centre: row(&self.centre)?,
            lower: row(&self.lower)?,
            upper: row(&self.upper)?,
            ..*self
        })
    }

    /// The images' own place.
    pub(super) fn centre(&self) -> Tensor {
        self.centre.shallow_clone()
    }

    /// The images' own place, or a random point of the ball around each, by the noise of its index.
    pub(super) fn start(
        &self,
        key: Option<&NoiseKey>,
        indices: &[usize],
    ) -> Result<Tensor, TorchError> {
        key.map_or_else(|| Ok(self.centre()), |key| self.random(Start::Uniform, key, indices))
    }

    /// A random point around each image, by the noise of its index.
    pub(super) fn random(
        &self,
        start: Start,
        key: &NoiseKey,
        indices: &[usize],
    ) -> Result<Tensor, TorchError> {
        let shape = self.centre.size();
        let values = shape[1..].iter().product::<i64>() as usize;
        let mut noise = vec![0f32; indices.len() * values];
        for (index, out) in indices.iter().zip(noise.chunks_exact_mut(values)) {
            match start {
                Start::Uniform => random_start(key, *index, self.norm, self.eps, out),
                Start::Gaussian => {
                    let mut stream = key.stream(*index);
                    out.fill_with(|| SPREAD * stream.normal());
                }
            }
        }
        let noise = Tensor::f_from_slice(&noise)?.f_view(&shape[..])?;
        let images = self.centre.f_add(&upload(&noise, self.centre.device())?)?;
        match start {
            Start::Uniform => self.inside(&images),
            Start::Gaussian => self.project(&images),
        }
    }

    /// One step from `images` along `gradient`, back into the ball and the box.
    pub(super) fn step(&self, images: &Tensor, gradient: &Tensor) -> Result<Tensor, TorchError> {
        let step = f64::from(self.step);
        match self.norm {
            Norm::Linf => self.project(&gradient.f_sign()?.f_mul_scalar_(step)?.f_add_(images)?),
            Norm::L2 => self.project(&direction(gradient)?.f_mul_scalar_(step)?.f_add_(images)?),
        }
    }

    /// The nearest images of ball and box.
    fn project(&self, images: &Tensor) -> Result<Tensor, TorchError> {
        match self.norm {
            Norm::Linf => self.inside(images),
            Norm::L2 => {
                let delta = images.f_sub(&self.centre)?;
                // At most 1, and exactly 1 for what is inside already.
                let length =
                    lengths(&delta)?.f_clamp_min(f64::from(self.eps.max(f32::MIN_POSITIVE)))?;
                let scale = length.f_full_like(f64::from(self.eps))?.f_div(&length)?;
                self.inside(&delta.f_mul(&scale)?.f_add_(&self.centre)?)
            }
        }
    }

    fn inside(&self, images: &Tensor) -> Result<Tensor, TorchError> {
        Ok(images.f_clamp_tensor(Some(&self.lower), Some(&self.upper))?)
    }
}

/// `g / ‖g‖₂` for each image; 0 where the gradient is 0.
///
/// The largest value is divided out first, because the squares of a confident network's gradients
/// underflow.
fn direction(gradient: &Tensor) -> Result<Tensor, TorchError> {
    let smallest = f64::from(f32::MIN_POSITIVE);
    let largest = gradient.f_abs()?.f_amax([1, 2, 3], true)?.f_clamp_min(smallest)?;
    let scaled = gradient.f_div(&largest)?;
    Ok(scaled.f_div(&lengths(&scaled)?.f_clamp_min(smallest)?)?)
}

/// The Euclidean length of each image, `N × 1 × 1 × 1`.
fn lengths(delta: &Tensor) -> Result<Tensor, TorchError> {
    Ok(delta.f_norm_scalaropt_dim(2, [1, 2, 3], true)?)
}
