//! Gradients of bounded length.

use tch::{Kind, Tensor};

use crate::network::TorchError;

/// The gradients scaled so that their common Euclidean length is at most `length`, by PyTorch's
/// `clip_grad_norm_`: `g ← g · min(1, length / (‖g‖ + 10⁻⁶))`.
///
/// # Errors
/// If libtorch fails.
pub fn clip(gradients: &[Tensor], length: f64) -> Result<Vec<Tensor>, TorchError> {
    let lengths: Vec<Tensor> =
        gradients.iter().map(Tensor::f_norm).collect::<Result<_, tch::TchError>>()?;
    let common = Tensor::f_stack(&lengths, 0)?.f_norm()?.f_add_scalar(1e-6)?;
    // The scale stays on the device: nobody waits for it.
    let scale = common.f_reciprocal()?.f_mul_scalar(length)?.f_clamp_max(1.0)?;
    let scaled =
        gradients.iter().map(|gradient| Ok(gradient.f_mul(&scale)?.f_to_kind(Kind::Float)?));
    scaled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::to_vec;

    #[test]
    fn shortens_what_is_too_long_and_nothing_else() {
        let gradients = [Tensor::from_slice(&[3f32, 0.0]), Tensor::from_slice(&[-4f32])];
        let clipped = |length| -> Vec<f32> {
            clip(&gradients, length).unwrap().iter().flat_map(|g| to_vec(g).unwrap()).collect()
        };
        let short = clipped(1.0);
        for (found, expected) in short.iter().zip([0.6, 0.0, -0.8]) {
            assert!((found - expected).abs() < 1e-6, "{short:?}");
        }
        assert_eq!(clipped(6.0), [3.0, 0.0, -4.0]);
    }
}
