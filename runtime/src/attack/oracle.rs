//! What an attack may ask of a model.

use ndarray::{Array1, Array2, Array4, ArrayView1, ArrayView4};

use super::doubt;
use crate::autodiff::Head;

/// A failure of the model that is asked; the attack cannot go on.
pub type OracleError = Box<dyn std::error::Error + Send + Sync>;

/// The answer to one gradient query.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The logits that the gradient pass computed, `N × classes`. They may differ from
    /// [`Oracle::logits`] by rounding: good for steering, never for judging.
    pub logits: Array2<f32>,
    /// Each image's loss.
    pub losses: Array1<f32>,
    /// ∂ loss / ∂ image for each image by itself, `N × C × H × W`.
    pub gradient: Array4<f32>,
}

/// A classifier as an attack sees it.
///
/// An answer about an image must depend on that image alone: not on its place in the batch, nor on
/// the others in it.
pub trait Oracle {
    /// Up to what margin, relative to the logits' size, those of a gradient pass may hide that the
    /// served model misclassifies an image, and call for a look at its own.
    ///
    /// The two passes are usually the same function; in float32 they differ by some 1e-6. Infinite
    /// where they are not: then every image is shown to the served model.
    fn doubt(&self) -> f32 {
        doubt::ROUNDING
    }

    /// Whether the gradients are those of the served model, and not of a twin.
    fn follows_itself(&self) -> bool {
        true
    }

    /// Whether the served model rounds on its way more coarsely than float32 does, so that its answers
    /// about one image may differ visibly from one machine's kernels to another's.
    fn is_coarse(&self) -> bool {
        false
    }

    /// The number of images that the model insists on, if it does.
    fn fixed_batch(&self) -> Option<usize> {
        None
    }

    /// How many steps lie between a black and a white pixel, where the model takes whole numbers;
    /// an image between two steps cannot be given to it.
    fn levels(&self) -> Option<f32> {
        None
    }

    /// Sends this many images through the model at once from now on, blank ones among them where
    /// fewer are asked about; without effect where the model insists on a number, or nothing is
    /// filled up.
    fn set_batch(&mut self, _batch: usize) {}

    /// The logits of the model that is served, by which alone an image is judged.
    ///
    /// # Shapes
    /// `N × C × H × W` in pixels to `N × classes`.
    ///
    /// # Errors
    /// If the model fails.
    fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError>;

    /// Makes [`gradient`](Self::gradient) that of this loss.
    ///
    /// # Errors
    /// If the model has no gradient of it.
    fn follow(&mut self, head: Head) -> Result<(), OracleError>;

    /// The gradient of each image's loss with respect to its pixels; `targets` are read by losses
    /// that have one.
    ///
    /// # Errors
    /// If the model fails.
    fn gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
        targets: &[usize],
    ) -> Result<Gradient, OracleError>;
}

/// The predicted class: the first of the largest logits; what is not a number never wins.
///
/// ```
/// use ndarray::array;
/// use rift_runtime::attack::oracle::prediction;
/// assert_eq!(prediction(&array![0.5, 2.0, 2.0].view()), 1);
/// assert_eq!(prediction(&array![f32::NAN, -1.0].view()), 1);
/// ```
pub fn prediction(logits: &ArrayView1<f32>) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (class, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (class, *logit);
        }
    }
    best.0
}

/// Whether these are probabilities rather than logits: from 0 to 1, with a sum of 1.
pub fn is_distribution(logits: &ArrayView1<f32>) -> bool {
    logits.iter().all(|p| (0.0..=1.0).contains(p)) && (logits.sum() - 1.0).abs() < 1e-3
}

/// The true class's logit minus the largest other: at most 0 where the image is misclassified or
/// tied, and NaN where a logit is.
pub fn margin(logits: &ArrayView1<f32>, label: usize) -> f32 {
    let mut other = f32::NEG_INFINITY;
    for (class, logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return f32::NAN;
        }
        if class != label {
            other = other.max(*logit);
        }
    }
    logits.get(label).map_or(f32::NAN, |logit| logit - other)
}
