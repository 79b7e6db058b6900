//! Frost on the pane: textures with the statistics of the photographs that the original uses.
//!
//! The published programs lay a random piece of one of five photographs over the image. Those are
//! of unknown authors and stay out of this repository; here the texture is made. A Gaussian random
//! field, the sum of lattice noise at nine spacings with the photograph's correlations at distances
//! of 1 to 200 pixels, is turned into the photograph's red, green and blue by their quantiles. So
//! the distribution of each channel and the correlations are the photograph's, its needles and
//! ferns are not. `docs/results.md` says how close accuracy comes.
//!
//! The table is printed by `tests/peers/frost_texture.py`.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::planes::{Plane, Rgb};

/// Distances between the points of lattice noise, in the photograph's pixels.
const SPACINGS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Standard normal scores at which the levels are known, from −3 to 3.
const SCORES: usize = 13;
/// How many steps of the scores make a standard deviation.
const PER_SCORE: f64 = 2.0;

/// One photograph's statistics.
struct Texture {
    /// Of how many photographs: the second and the third of the original are one.
    weight: usize,
    /// Levels of red, green and blue, 0 to 255, at scores −3, −2.5, … 3.
    levels: [[f64; SCORES]; 3],
    /// Variances of the lattice noises; they add up to 1.
    variances: [f64; SPACINGS.len()],
}

/// Parameters of [`frost`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Frost {
    /// How much of the image is left.
    pub(super) image: f64,
    /// How much of the frost is added.
    pub(super) texture: f64,
    /// How many of the photograph's pixels lie between two of the image.
    pub(super) step: f64,
}

/// The image and the texture, each times its share.
pub(super) fn frost(image: Rgb, frost: Frost, generator: &mut impl Rng) -> Rgb {
    let (height, width) = image.dim();
    let mut drawn = generator.random_range(0..TEXTURES.iter().map(|t| t.weight).sum::<usize>());
    let mut chosen = &TEXTURES[0];
    for texture in &TEXTURES {
        chosen = texture;
        if drawn < texture.weight {
            break;
        }
        drawn -= texture.weight;
    }
    let field = field(height, width, chosen, frost.step, generator);
    let mut levels = chosen.levels.iter();
    image.each(|plane| {
        let Some(levels) = levels.next() else { return };
        for (v, score) in plane.values.iter_mut().zip(&field.values) {
            *v = frost.image * *v + frost.texture * level(levels, *score) / 255.0;
        }
    })
}

/// The level at a score, whole as in a photograph.
fn level(levels: &[f64; SCORES], score: f64) -> f64 {
    let last = (SCORES - 1) as f64;
    let at = (score * PER_SCORE + last / 2.0).clamp(0.0, last - 1e-9);
    let below = at as usize;
    let share = at - below as f64;
    (levels[below] * (1.0 - share) + levels[below + 1] * share).round()
}

/// A Gaussian field of unit variance.
fn field(
    height: usize,
    width: usize,
    texture: &Texture,
    step: f64,
    generator: &mut impl Rng,
) -> Plane {
    // Noise finer than the pixels is independent from one to the next.
    let fine = |spacing: &f64| *spacing <= step;
    let parts = SPACINGS.iter().zip(&texture.variances);
    let white: f64 = parts.clone().filter(|(spacing, _)| fine(spacing)).map(|(_, v)| v).sum();
    let mut field =
        Plane::draw(height, width, || white.sqrt() * generator.sample::<f64, _>(StandardNormal));
    for (spacing, variance) in parts.filter(|(spacing, v)| !fine(spacing) && **v > 0.0) {
        add_lattice(&mut field, step / spacing, variance.sqrt(), generator);
    }
    field
}

/// Adds noise that is drawn at the points of a lattice and interpolated between, scaled so that its
/// standard deviation is the same everywhere.
fn add_lattice(field: &mut Plane, pace: f64, deviation: f64, generator: &mut impl Rng) {
    let axis = |n: usize, offset: f64| -> Vec<(usize, f64, f64)> {
        let place = |i: usize| {
            let at = offset + i as f64 * pace;
            let share = at.fract();
            let length = (share * share + (1.0 - share) * (1.0 - share)).sqrt();
            (at as usize, (1.0 - share) / length, share / length)
        };
        (0..n).map(place).collect()
    };
    let rows = axis(field.height, generator.random());
    let columns = axis(field.width, generator.random());
    let extent = |axis: &[(usize, f64, f64)]| axis.last().map_or(0, |(first, ..)| first + 2);
    let lattice = Plane::draw(extent(&rows), extent(&columns), || {
        deviation * generator.sample::<f64, _>(StandardNormal)
    });
    let mut line = vec![0.0; lattice.width];
    for (y, (row, above, below)) in rows.iter().enumerate() {
        for ((v, a), b) in line.iter_mut().zip(lattice.row(*row)).zip(lattice.row(row + 1)) {
            *v = a * above + b * below;
        }
        for (v, (column, left, right)) in field.row_mut(y).iter_mut().zip(&columns) {
            *v += line[*column] * left + line[column + 1] * right;
        }
    }
}

#[rustfmt::skip]
const TEXTURES: [Texture; 4] = [
    // frost1: residual of the correlations 0.026
    Texture {
        weight: 1,
        levels: [
            [24.0, 29.0, 34.0, 41.0, 50.0, 60.0, 72.0, 87.0, 105.0, 123.0, 142.0, 156.0, 168.0],
            [113.0, 116.0, 120.0, 125.0, 131.0, 138.0, 146.0, 155.0, 164.0, 174.0, 183.0, 192.0, 201.0],
            [131.0, 134.0, 138.0, 143.0, 149.0, 156.0, 164.0, 171.0, 180.0, 187.0, 194.0, 202.0, 211.0],
        ],
        variances: [0.217, 0.095, 0.000, 0.014, 0.063, 0.054, 0.115, 0.274, 0.168],
    },
    // frost2: residual of the correlations 0.058
    Texture {
        weight: 2,
        levels: [
            [114.0, 133.0, 150.0, 166.0, 179.0, 191.0, 201.0, 209.0, 216.0, 223.0, 229.0, 234.0, 239.0],
            [114.0, 135.0, 153.0, 169.0, 183.0, 195.0, 206.0, 214.0, 222.0, 228.0, 234.0, 238.0, 243.0],
            [119.0, 142.0, 160.0, 176.0, 191.0, 205.0, 216.0, 224.0, 232.0, 238.0, 243.0, 247.0, 250.0],
        ],
        variances: [0.126, 0.119, 0.083, 0.090, 0.062, 0.027, 0.000, 0.295, 0.198],
    },
    // frost4: residual of the correlations 0.022
    Texture {
        weight: 1,
        levels: [
            [49.0, 65.0, 86.0, 104.0, 120.0, 133.0, 145.0, 156.0, 167.0, 180.0, 198.0, 223.0, 242.0],
            [63.0, 79.0, 101.0, 119.0, 135.0, 148.0, 160.0, 171.0, 182.0, 195.0, 214.0, 238.0, 254.0],
            [70.0, 89.0, 110.0, 130.0, 146.0, 160.0, 173.0, 185.0, 197.0, 210.0, 230.0, 252.0, 255.0],
        ],
        variances: [0.225, 0.214, 0.035, 0.080, 0.019, 0.021, 0.000, 0.285, 0.121],
    },
    // frost5: residual of the correlations 0.028
    Texture {
        weight: 1,
        levels: [
            [26.0, 32.0, 40.0, 50.0, 64.0, 79.0, 97.0, 117.0, 139.0, 162.0, 189.0, 215.0, 241.0],
            [37.0, 43.0, 51.0, 62.0, 76.0, 91.0, 109.0, 129.0, 150.0, 172.0, 198.0, 222.0, 245.0],
            [49.0, 55.0, 63.0, 74.0, 88.0, 104.0, 121.0, 141.0, 161.0, 182.0, 207.0, 229.0, 249.0],
        ],
        variances: [0.173, 0.097, 0.115, 0.133, 0.122, 0.035, 0.005, 0.097, 0.224],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threat::NoiseKey;

    #[test]
    fn the_field_is_standard_normal_and_correlated_as_asked() {
        let key = NoiseKey { seed: 3, attack: "frost", restart: 0 };
        let (mut squares, mut near, mut count) = (0.0, 0.0, 0.0);
        for sample in 0..300 {
            let field = field(16, 16, &TEXTURES[0], 5.0, &mut key.generator(sample));
            for y in 0..16 {
                squares += field.row(y).iter().map(|v| v * v).sum::<f64>();
                near += field.row(y).windows(2).map(|v| v[0] * v[1]).sum::<f64>() / 15.0 * 16.0;
                count += 16.0;
            }
        }
        let (variance, correlation) = (squares / count, near / squares);
        assert!((variance - 1.0).abs() < 0.1, "{variance}");
        // The photograph's at a distance of 5 pixels.
        assert!((correlation - 0.66).abs() < 0.05, "{correlation}");
    }

    #[test]
    fn levels_are_those_of_the_table() {
        let levels = &TEXTURES[0].levels[0];
        assert_eq!(
            [-9.0, -3.0, 0.0, 0.25, 9.0].map(|z| level(levels, z)),
            [24., 24., 72., 80., 168.]
        );
    }
}
