//! Fog and snow.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::motion::{Motion, moved};
use super::planes::{Plane, Rgb, byte};
use super::zoom::magnified;

/// The weights of red, green and blue in OpenCV's grey.
pub(super) const GREY: [f64; 3] = [0.299, 0.587, 0.114];

/// x + thickness · plasma, scaled back to the brightest value of the image.
pub(super) fn fog(image: Rgb, thickness: f64, decay: f64, generator: &mut impl Rng) -> Rgb {
    let (height, width) = image.dim();
    let side = height.max(width).next_power_of_two();
    let plasma = plasma(side, decay, generator);
    let most = image.0.iter().flat_map(|plane| &plane.values).copied().fold(0.0, f64::max);
    image.each(|plane| {
        for y in 0..height {
            for (v, fog) in plane.row_mut(y).iter_mut().zip(plasma.row(y)) {
                *v = (*v + thickness * fog) * most / (most + thickness);
            }
        }
    })
}

/// A height map in [0, 1] by the diamond-square algorithm, on a torus of a power of two.
fn plasma(side: usize, decay: f64, generator: &mut impl Rng) -> Plane {
    let mut map = Plane::zeros(side, side);
    let (mut step, mut wibble) = (side, 100.0_f64);
    while step >= 2 {
        let (half, n) = (step / 2, side / step);
        // The published program multiplies by the wibble inside the draw and outside it.
        let mut mean = |sum: f64| sum / 4.0 + wibble * generator.random_range(-wibble..wibble);
        let at = |y: usize, x: usize| (y % side) * side + x % side;
        let cells = || (0..n).flat_map(|i| (0..n).map(move |j| (i * step, j * step)));
        for (y, x) in cells() {
            let corners = [(y, x), (y + step, x), (y, x + step), (y + step, x + step)];
            let sum = corners.iter().map(|(y, x)| map.values[at(*y, *x)]).sum();
            map.values[at(y + half, x + half)] = mean(sum);
        }
        for (y, x) in cells() {
            let v = |y, x| map.values[at(y, x)];
            let corner = v(y, x);
            let centre = v(y + half, x + half);
            let top = centre + v(y + side - half, x + half) + corner + v(y, x + step);
            let left = centre + v(y + half, x + side - half) + corner + v(y + step, x);
            map.values[at(y, x + half)] = mean(top);
            map.values[at(y + half, x)] = mean(left);
        }
        step = half;
        wibble /= decay;
    }
    let least = map.values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = map.values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least;
    map.map(|v| (v - least) / most.max(f64::MIN_POSITIVE));
    map
}

/// Parameters of [`snow`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Snow {
    /// Mean of the normal distribution of the flakes.
    pub(super) mean: f64,
    /// Its standard deviation.
    pub(super) deviation: f64,
    /// How much the flakes are magnified.
    pub(super) zoom: f64,
    /// Below this there is no flake.
    pub(super) threshold: f64,
    /// The flakes' fall, at an angle from −135° to −45°.
    pub(super) motion: Motion,
    /// How much of the image is left; the rest is whitened.
    pub(super) image: f64,
}

/// Falling flakes, and the same turned by 180°, over a whitened image.
pub(super) fn snow(image: Rgb, snow: Snow, generator: &mut impl Rng) -> Rgb {
    let (height, width) = image.dim();
    let flakes = Plane::draw(height, width, || {
        snow.mean + snow.deviation * generator.sample::<f64, _>(StandardNormal)
    });
    let mut flakes = if snow.zoom > 1.0 { magnified(&flakes, snow.zoom) } else { flakes };
    flakes.map(|v| if v < snow.threshold { 0.0 } else { f64::from(byte(v)) / 255.0 });
    moved(&mut flakes, snow.motion, generator.random_range(-135.0..-45.0));
    let turned = flakes.values.iter().rev();
    let layer: Vec<f64> = flakes.values.iter().zip(turned).map(|(a, b)| a + b).collect();
    let grey: Vec<f64> = (0..layer.len())
        .map(|i| image.0.iter().zip(GREY).map(|(plane, k)| k * plane.values[i]).sum())
        .collect();
    image.each(|plane| {
        for ((v, grey), flake) in plane.values.iter_mut().zip(&grey).zip(&layer) {
            *v = snow.image * *v + (1.0 - snow.image) * v.max(grey * 1.5 + 0.5) + flake;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::NoiseKey;

    #[test]
    fn plasma_fills_its_range() {
        let mut generator = NoiseKey { seed: 1, attack: "fog", restart: 0 }.generator(0);
        for side in [2, 16, 64] {
            let map = plasma(side, 2.0, &mut generator);
            assert!(map.values.contains(&0.0) && map.values.contains(&1.0));
            assert!(map.values.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
}
