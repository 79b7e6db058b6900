//! Corrupted images of a data set, ready for a classifier.

use std::ops::Range;

use ndarray::{Array3, Array4, Axis};
use rayon::prelude::*;

use super::{Corruption, CorruptionError, Draw, Severity};
use crate::dataset::{Dataset, Pixels};

impl Corruption {
    /// Consecutive images of a data set, corrupted; each one's draws are keyed by its row.
    ///
    /// Images that are stored as floats are rounded to bytes first.
    ///
    /// # Shapes
    /// N×C×H×W.
    ///
    /// # Units
    /// Pixels in [0, 1].
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    ///
    /// # Panics
    /// If a row is not below the number of images.
    ///
    /// ```
    /// use rift_models::corruption::{Corruption, Severity};
    /// use rift_models::dataset::{Dataset, Request, Split};
    ///
    /// let request = Request::new(Split::Test).limit(8);
    /// let images = Dataset::synthetic(&"synthetic:10x3x32x32".parse()?, &request)?;
    /// let all = Corruption::Fog.batch(Severity::ALL[2], &images, 0..8, 0)?;
    /// let last = Corruption::Fog.batch(Severity::ALL[2], &images, 7..8, 0)?;
    /// assert_eq!(all.index_axis(ndarray::Axis(0), 7), last.index_axis(ndarray::Axis(0), 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch(
        self,
        severity: Severity,
        images: &Dataset,
        rows: Range<usize>,
        seed: u64,
    ) -> Result<Array4<f32>, CorruptionError> {
        let [channels, height, width] = images.input();
        let mut out = Array4::zeros((rows.len(), channels, height, width));
        let one = |(row, mut target): (usize, ndarray::ArrayViewMut3<'_, f32>)| {
            let rounded: Array3<u8>;
            let image = match &images.pixels {
                Pixels::Bytes(bytes) => bytes.index_axis(Axis(0), row),
                Pixels::Floats(floats) => {
                    let floats = floats.index_axis(Axis(0), row);
                    rounded = floats.mapv(|v| (v * 255.0).round().clamp(0.0, 255.0) as u8);
                    rounded.view()
                }
            };
            let corrupted = self.apply(severity, &image, Draw { seed, sample: row })?;
            target.zip_mut_with(&corrupted, |to, from| *to = f32::from(*from) / 255.0);
            Ok(())
        };
        let targets: Vec<_> = rows.zip(out.outer_iter_mut()).collect();
        targets.into_par_iter().try_for_each(one)?;
        Ok(out)
    }
}
