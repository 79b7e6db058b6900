//! Pixelation by Pillow's box filter.

use ndarray::{Array3, ArrayView3, Axis};

/// Fractional bits of Pillow's weights for bytes.
const BITS: u32 = 32 - 8 - 2;

/// Where the values of a resized axis come from: the first of each and the weights from there on.
fn weights(from: usize, to: usize) -> Vec<(usize, Vec<i64>)> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = 0.5 * stretch;
    let one = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5).max(0.0) as usize).min(from);
        let inside = |x: usize| {
            let at = (x as f64 - centre + 0.5) / stretch;
            f64::from(u8::from(at > -0.5 && at <= 0.5))
        };
        let sum: f64 = (first..end).map(inside).sum();
        let fixed = |x| (inside(x) / sum * f64::from(1_u32 << BITS) + 0.5) as i64;
        (first, (first..end).map(fixed).collect())
    };
    (0..to).map(one).collect()
}

/// Resizes one axis, rounding to bytes.
fn resize(image: &Array3<u8>, axis: Axis, to: usize) -> Array3<u8> {
    let mut shape = image.raw_dim();
    let weights = weights(shape[axis.index()], to);
    shape[axis.index()] = to;
    let mut out = Array3::zeros(shape);
    for (from, mut to) in image.lanes(axis).into_iter().zip(out.lanes_mut(axis)) {
        for (to, (first, weights)) in to.iter_mut().zip(&weights) {
            let sum: i64 = weights.iter().zip(*first..).map(|(k, i)| k * i64::from(from[i])).sum();
            *to = ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8;
        }
    }
    out
}

/// Reduces both sides to `share` of them and enlarges them again.
pub(super) fn pixelate(image: &ArrayView3<'_, u8>, share: f64) -> Array3<u8> {
    let (_, height, width) = image.dim();
    let small = |side: usize| ((side as f64 * share) as usize).max(1);
    let reduced = resize(&image.to_owned(), Axis(2), small(width));
    let reduced = resize(&reduced, Axis(1), small(height));
    resize(&resize(&reduced, Axis(2), width), Axis(1), height)
}
