//! Magnification of the middle, and the blur of a lens that zooms.

use super::planes::{Plane, Rgb};

/// Where the values of a magnified axis come from.
struct Axis {
    /// The first of two neighbours, and the share of the second.
    places: Vec<(usize, f64)>,
}

impl Axis {
    /// The middle `n` of an axis of `n` values, magnified by `factor`, as `scipy.ndimage.zoom` of
    /// order 1 does it.
    fn new(n: usize, factor: f64) -> Self {
        let cropped = (n as f64 / factor).ceil() as usize;
        let first = (n - cropped) / 2;
        let magnified = ((cropped as f64 * factor).round_ties_even() as usize).max(n);
        let trim = (magnified - n) / 2;
        let step = (cropped - 1) as f64 / (magnified.max(2) - 1) as f64;
        let place = |i: usize| {
            let at = ((i + trim) as f64 * step).min((cropped - 1) as f64);
            let left = (at.floor() as usize).min(cropped.saturating_sub(2));
            (first + left, at - left as f64)
        };
        Self { places: (0..n).map(place).collect() }
    }
}

/// The middle of `plane`, magnified to the same size.
pub(super) fn magnified(plane: &Plane, factor: f64) -> Plane {
    let (rows, columns) = (Axis::new(plane.height, factor), Axis::new(plane.width, factor));
    let mut out = Plane::zeros(plane.height, plane.width);
    let mut line = vec![0.0; plane.width];
    for (y, (top, low)) in rows.places.iter().enumerate() {
        let bottom = plane.row((top + 1).min(plane.height - 1));
        for ((v, a), b) in line.iter_mut().zip(plane.row(*top)).zip(bottom) {
            *v = a * (1.0 - low) + b * low;
        }
        for (out, (left, right)) in out.row_mut(y).iter_mut().zip(&columns.places) {
            let next = line[(left + 1).min(plane.width - 1)];
            *out = line[*left] * (1.0 - right) + next * right;
        }
    }
    out
}

/// The mean of the image and its magnifications by 1, 1 + step, … below `end`.
///
/// Sums are taken in float32, as in the original.
pub(super) fn zoom_blur(image: Rgb, end: f64, step: f64) -> Rgb {
    // As many as `numpy.arange(1, end, step)` has, whose last may be `end` itself.
    let count = ((end - 1.0) / step).ceil() as usize;
    image.each(|plane| {
        plane.map(|v| f64::from(v as f32));
        let mut sums = vec![0.0_f32; plane.values.len()];
        for i in 0..count {
            let zoomed = magnified(plane, 1.0 + i as f64 * step);
            for (sum, v) in sums.iter_mut().zip(&zoomed.values) {
                *sum += *v as f32;
            }
        }
        for (v, sum) in plane.values.iter_mut().zip(&sums) {
            let mean = (*v as f32 + sum) / (count + 1) as f32;
            // Times 255 in float32 too: the cut to a byte that follows sees the same number.
            *v = f64::from(mean.clamp(0.0, 1.0) * 255.0) / 255.0;
        }
    })
}
