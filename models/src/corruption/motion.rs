//! Blur by a movement, as ImageMagick computes it.

use rand::{Rng, RngExt};

use super::planes::{Plane, Rgb};

/// What a byte gains before it is cut: ImageMagick rounds to a 257th of a level first.
const ROUNDING: f64 = 0.5 / 257.0;

/// Parameters of the blur.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    /// The way is 2 · radius + 1 pixels long.
    pub(super) radius: usize,
    /// Standard deviation of the half Gaussian along it, in pixels.
    pub(super) sigma: f64,
}

/// A movement at an angle drawn from −45° to 45°.
pub(super) fn motion_blur(image: Rgb, motion: Motion, generator: &mut impl Rng) -> Rgb {
    let angle = generator.random_range(-45.0..45.0);
    image.each(|plane| moved(plane, motion, angle))
}

/// Blurs a plane of values in [0, 1] that stand for bytes, to such values.
///
/// The pixel at `p` becomes Σᵢ kᵢ · x(p + i · (cos, sin)), with kᵢ ∝ exp(−i² / 2σ²) and positions
/// rounded; beyond the border lies what is nearest.
///
/// # Units
/// `angle` is in degrees.
pub(super) fn moved(plane: &mut Plane, motion: Motion, angle: f64) {
    let way = 2 * motion.radius + 1;
    let weight = |i: usize| (-((i * i) as f64) / (2.0 * motion.sigma * motion.sigma)).exp();
    let sum: f64 = (0..way).map(weight).sum();
    let (sin, cos) = angle.to_radians().sin_cos();
    let mut out = Plane::zeros(plane.height, plane.width);
    for i in 0..way {
        let dy = (i as f64 * sin - 0.5).ceil() as isize;
        let dx = (i as f64 * cos - 0.5).ceil() as isize;
        for y in 0..plane.height {
            let from = (y as isize + dy).clamp(0, plane.height as isize - 1);
            add_shifted(out.row_mut(y), plane.row(from as usize), dx, weight(i) / sum);
        }
    }
    for (v, sum) in plane.values.iter_mut().zip(&out.values) {
        *v = (sum * 255.0 + ROUNDING).floor().min(255.0) / 255.0;
    }
}

/// `out[x] += k · row[x + dx]`.
fn add_shifted(out: &mut [f64], row: &[f64], dx: isize, k: f64) {
    let width = row.len();
    let beyond = dx.unsigned_abs().min(width);
    let add = |out: &mut [f64], row: &[f64]| {
        for (out, v) in out.iter_mut().zip(row) {
            *out += k * v;
        }
    };
    let fill = |out: &mut [f64], v: f64| {
        for out in out {
            *out += k * v;
        }
    };
    if dx >= 0 {
        let (inside, outside) = out.split_at_mut(width - beyond);
        add(inside, &row[beyond..]);
        fill(outside, row[width - 1]);
    } else {
        let (outside, inside) = out.split_at_mut(beyond);
        fill(outside, row[0]);
        add(inside, row);
    }
}
