//! An ONNX file's logits against those that the checkpoint gives the same images.

use ndarray::Array2;
use rift_models::artifact::Parity;
use serde::Serialize;

/// The largest difference that is accepted unless the user says otherwise.
pub const TOLERANCE: f64 = 1e-4;

/// The logit that is furthest from the checkpoint's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// The image's index in the probe.
    pub image: usize,
    /// The class whose logit it is.
    pub logit: usize,
    /// The checkpoint's.
    pub expected: f32,
    /// The ONNX file's.
    pub found: f32,
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { image, logit, expected, found } = self;
        write!(f, "image {image}, logit {logit}: expected {expected}, found {found}")
    }
}

/// How two sets of logits compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The figures, as a card keeps them; the difference is infinite where a logit is not finite.
    pub parity: Parity,
    /// Where they differ most.
    pub worst: Worst,
}

/// Logits that cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("the ONNX file gives logits of shape {found:?}, expected the probe's {expected:?}")]
pub struct ShapeMismatch {
    /// Images and classes of the probe.
    pub expected: [usize; 2],
    /// Images and classes of the ONNX file.
    pub found: [usize; 2],
}

/// Compares `found`, an ONNX file's logits, with `expected`, the checkpoint's.
///
/// # Shapes
/// Both `N × classes`, with at least one image.
///
/// # Errors
/// If the shapes differ or there is nothing to compare.
pub fn compare(
    expected: &Array2<f32>,
    found: &Array2<f32>,
    tolerance: f64,
) -> Result<Comparison, ShapeMismatch> {
    let shape = |logits: &Array2<f32>| [logits.nrows(), logits.ncols()];
    let mismatch = || ShapeMismatch { expected: shape(expected), found: shape(found) };
    if shape(expected) != shape(found) {
        return Err(mismatch());
    }
    let differences = expected.indexed_iter().map(|((image, logit), &expected)| {
        let found = found[(image, logit)];
        let difference = (f64::from(found) - f64::from(expected)).abs();
        // NaN would pass every comparison with the tolerance.
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        (difference, Worst { image, logit, expected, found })
    });
    let (max_abs_difference, worst) = differences
        .reduce(|worst, next| if next.0 > worst.0 { next } else { worst })
        .ok_or_else(mismatch)?;
    let rows = expected.rows().into_iter().zip(found.rows());
    let same_prediction = rows.filter(|(e, f)| first_maximum(e.iter()) == first_maximum(f.iter()));
    let parity = Parity {
        n: expected.nrows(),
        max_abs_difference,
        tolerance,
        same_prediction: same_prediction.count(),
    };
    Ok(Comparison { parity, worst })
}

/// The predicted class: the first of the largest logits.
fn first_maximum<'a>(logits: impl Iterator<Item = &'a f32>) -> Option<usize> {
    logits
        .enumerate()
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(class, _)| class)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn names_the_worst_logit() {
        let expected = array![[1.0, 2.0], [4.0, 3.0]];
        let comparison = compare(&expected, &array![[1.0, 2.0], [4.0, 4.5]], 1e-4).unwrap();
        assert_eq!(comparison.parity.max_abs_difference, 1.5);
        assert_eq!(comparison.parity.same_prediction, 1);
        assert!(!comparison.parity.holds());
        assert_eq!(comparison.worst.to_string(), "image 1, logit 1: expected 3, found 4.5");
        assert!(compare(&expected, &expected, 0.0).unwrap().parity.holds());
    }

    #[test]
    fn what_is_not_a_number_never_holds() {
        let expected = array![[1.0, 2.0]];
        let comparison = compare(&expected, &array![[1.0, f32::NAN]], 1e30).unwrap();
        assert!(!comparison.parity.holds());
        assert_eq!(comparison.worst.logit, 1);
    }

    #[test]
    fn refuses_other_shapes() {
        let error = compare(&array![[1.0, 2.0]], &array![[1.0]], 1e-4).unwrap_err();
        assert!(error.to_string().contains("shape [1, 1], expected the probe's [1, 2]"));
        let nothing = Array2::zeros((0, 2));
        assert!(compare(&nothing, &nothing, 1e-4).is_err());
    }
}
