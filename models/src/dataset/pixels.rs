//! Images in memory.

use ndarray::Array4;
use rayon::prelude::*;

use crate::artifact::DigestBuilder;

/// The images of a data set, N×C×H×W, kept as they were stored.
///
/// # Units
/// Bytes are pixel · 255; floats are pixels in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// As in nearly every data set.
    Bytes(Array4<u8>),
    /// From `.npz` files with float32.
    Floats(Array4<f32>),
}

impl Pixels {
    /// `[N, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        let (n, c, h, w) = match self {
            Self::Bytes(bytes) => bytes.dim(),
            Self::Floats(floats) => floats.dim(),
        };
        [n, c, h, w]
    }

    /// The chosen rows as float32 pixels in [0, 1].
    pub(super) fn floats(&self, rows: impl ExactSizeIterator<Item = usize>) -> Array4<f32> {
        let [_, c, h, w] = self.shape();
        let mut out = Array4::zeros((rows.len(), c, h, w));
        for (mut target, row) in out.outer_iter_mut().zip(rows) {
            match self {
                Self::Bytes(bytes) => {
                    target.zip_mut_with(&bytes.index_axis(ndarray::Axis(0), row), |to, from| {
                        *to = f32::from(*from) / 255.0;
                    });
                }
                Self::Floats(floats) => target.assign(&floats.index_axis(ndarray::Axis(0), row)),
            }
        }
        out
    }

    /// Mean and (population) standard deviation of each channel, in pixel units.
    pub(super) fn mean_and_std(&self) -> (Vec<f32>, Vec<f32>) {
        let [n, channels, h, w] = self.shape();
        let count = (n * h * w) as f64;
        (0..channels)
            .into_par_iter()
            .map(|channel| {
                let (sum, squares) = match self {
                    // Sums of bytes are exact, so they do not depend on any order.
                    Self::Bytes(bytes) => {
                        let plane = bytes.index_axis(ndarray::Axis(1), channel);
                        let add = |(sum, squares): (u64, u64), byte: &u8| {
                            (sum + u64::from(*byte), squares + u64::from(*byte).pow(2))
                        };
                        let (sum, squares) = plane.iter().fold((0, 0), add);
                        (sum as f64 / 255.0, squares as f64 / (255.0 * 255.0))
                    }
                    Self::Floats(floats) => {
                        let plane = floats.index_axis(ndarray::Axis(1), channel);
                        let add = |(sum, squares): (f64, f64), pixel: &f32| {
                            let pixel = f64::from(*pixel);
                            (sum + pixel, squares + pixel * pixel)
                        };
                        plane.iter().fold((0.0, 0.0), add)
                    }
                };
                let mean = sum / count;
                (mean as f32, (squares / count - mean * mean).max(0.0).sqrt() as f32)
            })
            .unzip()
    }

    /// Feeds kind, shape and values.
    pub(super) fn digest_into(&self, digest: &mut DigestBuilder) {
        digest.update(match self {
            Self::Bytes(_) => b"bytes",
            Self::Floats(_) => b"float",
        });
        for extent in self.shape() {
            digest.update(&(extent as u64).to_le_bytes());
        }
        match self {
            Self::Bytes(bytes) => {
                for image in bytes.outer_iter() {
                    digest.update(image.as_standard_layout().as_slice().unwrap_or_default());
                }
            }
            Self::Floats(floats) => {
                for image in floats.outer_iter() {
                    let bytes: Vec<u8> = image.iter().flat_map(|v| v.to_le_bytes()).collect();
                    digest.update(&bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_floats_agree() {
        let bytes = Array4::from_shape_fn((5, 2, 3, 4), |(n, c, h, w)| {
            (n * 97 + c * 31 + h * 7 + w * 3) as u8
        });
        let floats = Pixels::Floats(bytes.mapv(|byte| f32::from(byte) / 255.0));
        let bytes = Pixels::Bytes(bytes);
        assert_eq!(bytes.floats([4, 0].into_iter()), floats.floats([4, 0].into_iter()));
        let ((mean, std), (other_mean, other_std)) = (bytes.mean_and_std(), floats.mean_and_std());
        for (a, b) in mean.iter().chain(&std).zip(other_mean.iter().chain(&other_std)) {
            assert!((a - b).abs() < 1e-6);
        }
        let plane: Vec<f32> =
            bytes.floats(0..5).index_axis(ndarray::Axis(1), 1).iter().copied().collect();
        let expected = plane.iter().sum::<f32>() / 60.0;
        assert!((mean[1] - expected).abs() < 1e-6, "{} {expected}", mean[1]);
    }
}
