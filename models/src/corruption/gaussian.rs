//! The Gaussian filter of SciPy, which most of the corruptions build on.

use super::planes::{Border, Plane};

/// Blurs `plane` as `scipy.ndimage.gaussian_filter` does: first down the columns, then along the
/// rows, with weights ∝ exp(−x² / 2σ²) up to ⌊`truncate` · σ + ½⌋ pixels.
///
/// # Units
/// `sigma` is in pixels, `truncate` in standard deviations.
pub(super) fn gaussian(plane: &mut Plane, sigma: f64, truncate: f64, border: Border) {
    let radius = (truncate * sigma + 0.5) as usize;
    if radius == 0 {
        return;
    }
    let weights = weights(sigma, radius);
    columns(plane, &weights, border);
    rows(plane, &weights, border);
}

/// The weights at distances 0 to `radius`.
fn weights(sigma: f64, radius: usize) -> Vec<f64> {
    let weight = |x: usize| (-0.5 / (sigma * sigma) * (x * x) as f64).exp();
    let sum = (0..=radius).map(|x| if x == 0 { weight(x) } else { 2.0 * weight(x) }).sum::<f64>();
    (0..=radius).map(|x| weight(x) / sum).collect()
}

/// `out += k · (a + b)`.
fn add(out: &mut [f64], k: f64, a: &[f64], b: &[f64]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out += k * (a + b);
    }
}

fn columns(plane: &mut Plane, weights: &[f64], border: Border) {
    let mut out = Plane::zeros(plane.height, plane.width);
    if let Some(folded) = folded(weights, plane.height, border) {
        for (y, weights) in folded.chunks_exact(plane.height).enumerate() {
            for (from, k) in weights.iter().enumerate() {
                for (out, v) in out.row_mut(y).iter_mut().zip(plane.row(from)) {
                    *out += k * v;
                }
            }
        }
    } else {
        for y in 0..plane.height {
            let row = |offset: isize| plane.row(border.index(y as isize + offset, plane.height));
            let out = out.row_mut(y);
            for (out, v) in out.iter_mut().zip(plane.row(y)) {
                *out = v * weights[0];
            }
            // From the outside in, which is the order in which SciPy adds.
            for distance in (1..weights.len()).rev() {
                let d = distance as isize;
                add(out, weights[distance], row(-d), row(d));
            }
        }
    }
    *plane = out;
}

fn rows(plane: &mut Plane, weights: &[f64], border: Border) {
    let (width, radius) = (plane.width, weights.len() - 1);
    let folded = folded(weights, width, border);
    let (mut padded, mut line) = (Vec::new(), vec![0.0; width]);
    for y in 0..plane.height {
        if let Some(folded) = &folded {
            for (out, weights) in line.iter_mut().zip(folded.chunks_exact(width)) {
                *out = weights.iter().zip(plane.row(y)).map(|(k, v)| k * v).sum();
            }
        } else {
            border.pad(plane.row(y), radius, &mut padded);
            for (out, v) in line.iter_mut().zip(&padded[radius..]) {
                *out = v * weights[0];
            }
            for distance in (1..=radius).rev() {
                let (left, right) = (&padded[radius - distance..], &padded[radius + distance..]);
                add(&mut line, weights[distance], left, right);
            }
        }
        plane.row_mut(y).copy_from_slice(&line);
    }
}

/// The filter as an n×n matrix, where it reaches further than the line is long: ImageNet's
/// `elastic_transform` smooths over 512 pixels.
fn folded(weights: &[f64], n: usize, border: Border) -> Option<Vec<f64>> {
    let radius = weights.len() as isize - 1;
    if radius < n as isize {
        return None;
    }
    let mut matrix = vec![0.0; n * n];
    for (i, row) in matrix.chunks_exact_mut(n).enumerate() {
        for offset in -radius..=radius {
            row[border.index(i as isize + offset, n)] += weights[offset.unsigned_abs()];
        }
    }
    Some(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_the_weights() {
        let mut plane = Plane::zeros(9, 9);
        plane.values[4 * 9 + 4] = 1.0;
        gaussian(&mut plane, 1.0, 4.0, Border::Nearest);
        assert!((plane.values.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let ratio = plane.values[4 * 9 + 5] / plane.values[4 * 9 + 4];
        assert!((ratio - (-0.5f64).exp()).abs() < 1e-12);
    }

    #[test]
    fn the_matrix_is_the_same_filter() {
        let weights = weights(3.0, 11);
        let plane = Plane { height: 10, width: 12, values: (0..120).map(f64::from).collect() };
        let mut short = plane.clone();
        columns(&mut short, &weights, Border::Reflect);
        for x in 0..12 {
            for y in 0..10isize {
                let sum: f64 = (-11..=11isize)
                    .map(|d| {
                        weights[d.unsigned_abs()] * plane.row(Border::Reflect.index(y + d, 10))[x]
                    })
                    .sum();
                assert!((sum - short.row(y as usize)[x]).abs() < 1e-9);
            }
        }
    }
}
