//! Blur by an open lens, by a matt pane and by a Gaussian.

use rand::{Rng, RngExt};

use super::gaussian::gaussian;
use super::planes::{Border, Plane, Rgb, byte};

/// How far scikit-image's Gaussian reaches, in standard deviations.
const REACH: f64 = 4.0;

/// A Gaussian of `sigma` pixels.
pub(super) fn gaussian_blur(image: Rgb, sigma: f64) -> Rgb {
    image.each(|plane| gaussian(plane, sigma, REACH, Border::Nearest))
}

/// Parameters of [`glass_blur`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Glass {
    /// Of the Gaussian before and after, in pixels.
    pub(super) sigma: f64,
    /// How far a pixel moves.
    pub(super) delta: usize,
    /// How often.
    pub(super) rounds: usize,
}

/// Pixels take the place of neighbours, between two Gaussians.
///
/// The published program means to swap two pixels and, because both are views of one array, copies
/// the neighbour instead. The published files were made so, and so is this.
pub(super) fn glass_blur(image: Rgb, glass: Glass, generator: &mut impl Rng) -> Rgb {
    let (height, width) = image.dim();
    let mut image = gaussian_blur(image, glass.sigma).map(|v| f64::from(byte(v)) / 255.0);
    let delta = glass.delta as i32;
    for _ in 0..glass.rounds {
        for y in (glass.delta + 1..=height.saturating_sub(glass.delta)).rev() {
            for x in (glass.delta + 1..=width.saturating_sub(glass.delta)).rev() {
                let dx = generator.random_range(-delta..delta) as isize;
                let dy = generator.random_range(-delta..delta) as isize;
                let from = y.saturating_add_signed(dy) * width + x.saturating_add_signed(dx);
                for plane in &mut image.0 {
                    plane.values[y * width + x] = plane.values[from];
                }
            }
        }
    }
    gaussian_blur(image, glass.sigma)
}

/// The mean over a disk of `radius` pixels whose edge a Gaussian of `alias` pixels softens.
pub(super) fn defocus_blur(image: Rgb, radius: f64, alias: f64) -> Rgb {
    let kernel = disk(radius, alias);
    image.each(|plane| filter(plane, &kernel))
}

/// The kernel; it reaches 8 pixels, or `radius` where that is more.
fn disk(radius: f64, alias: f64) -> Plane {
    let (reach, soft) = if radius <= 8.0 { (8, 1) } else { (radius as isize, 2) };
    let side = 2 * reach as usize + 1;
    let mut kernel = Plane::zeros(side, side);
    for (i, v) in kernel.values.iter_mut().enumerate() {
        let (y, x) = ((i / side) as isize - reach, (i % side) as isize - reach);
        *v = f64::from(u8::from((x * x + y * y) as f64 <= radius * radius));
    }
    let sum: f64 = kernel.values.iter().sum();
    // In float32, as there: it decides where a sum falls just below a whole level.
    kernel.map(|v| f64::from((v / sum) as f32));
    // The softening is OpenCV's, which cuts its Gaussian at one or two pixels.
    let weight = |d: isize| (-((d * d) as f64) / (2.0 * alias * alias)).exp();
    let total: f64 = (-soft..=soft).map(weight).sum();
    let mut out = Plane::zeros(side, side);
    for (i, v) in out.values.iter_mut().enumerate() {
        let (y, x) = ((i / side) as isize, (i % side) as isize);
        for dy in -soft..=soft {
            let row = kernel.row(Border::Reflect101.index(y + dy, side));
            for dx in -soft..=soft {
                let from = row[Border::Reflect101.index(x + dx, side)];
                *v += from * weight(dx) * weight(dy) / (total * total);
            }
        }
        *v = f64::from(*v as f32);
    }
    out
}

/// Correlates with a square kernel of odd side, as OpenCV's `filter2D`.
fn filter(plane: &mut Plane, kernel: &Plane) {
    // A kernel that reaches 8 pixels is mostly nothing.
    let most = kernel.values.iter().copied().fold(0.0, f64::max);
    let middle = kernel.width / 2;
    let far =
        |i: usize| (i / kernel.width).abs_diff(middle).max((i % kernel.width).abs_diff(middle));
    let something = (0..kernel.values.len()).filter(|i| kernel.values[*i] > most * 1e-9);
    let reach = something.map(far).max().unwrap_or(0);
    let mut padded = Plane::zeros(plane.height + 2 * reach, plane.width + 2 * reach);
    let mut line = Vec::new();
    for y in 0..padded.height {
        let from = Border::Reflect101.index(y as isize - reach as isize, plane.height);
        Border::Reflect101.pad(plane.row(from), reach, &mut line);
        padded.row_mut(y).copy_from_slice(&line);
    }
    let spare = middle - reach;
    for y in 0..plane.height {
        let out = plane.row_mut(y);
        out.fill(0.0);
        for dy in 0..=2 * reach {
            let row = padded.row(y + dy);
            let weights = &kernel.row(dy + spare)[spare..=spare + 2 * reach];
            for (dx, k) in weights.iter().enumerate() {
                if *k > most * 1e-9 {
                    for (out, v) in out.iter_mut().zip(&row[dx..]) {
                        *out += k * v;
                    }
                }
            }
        }
    }
}
