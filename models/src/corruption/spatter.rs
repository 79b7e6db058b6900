//! Drops of water and splashes of mud.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::edges::{Levels, distances};
use super::gaussian::gaussian;
use super::planes::{Border, Plane, Rgb};

/// The colour of water.
const WATER: [f64; 3] = [175.0 / 255.0, 238.0 / 255.0, 238.0 / 255.0];
/// The colour of mud.
const MUD: [f64; 3] = [63.0 / 255.0, 42.0 / 255.0, 20.0 / 255.0];
/// Below this much mud there is none.
const LEAST_MUD: f64 = 0.8;

/// Parameters of the corruption.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spatter {
    /// Mean of the normal distribution of the liquid.
    pub(super) mean: f64,
    /// Its standard deviation.
    pub(super) deviation: f64,
    /// Standard deviation of the Gaussian over it, in pixels.
    pub(super) sigma: f64,
    /// Below this there is no liquid.
    pub(super) threshold: f64,
    /// How strong water is, or by how many pixels mud is smoothed.
    pub(super) strength: f64,
    /// Mud instead of water.
    pub(super) mud: bool,
}

/// Water or mud where smoothed noise is high.
pub(super) fn spatter(image: Rgb, spatter: Spatter, generator: &mut impl Rng) -> Rgb {
    let (height, width) = image.dim();
    let liquid = Plane::draw(height, width, || {
        spatter.mean + spatter.deviation * generator.sample::<f64, _>(StandardNormal)
    });
    spattered(image, spatter, liquid)
}

/// The image under the noise `liquid`.
pub(super) fn spattered(image: Rgb, spatter: Spatter, mut liquid: Plane) -> Rgb {
    gaussian(&mut liquid, spatter.sigma, 4.0, Border::Nearest);
    if spatter.mud { mud(image, spatter, liquid) } else { water(image, spatter, &liquid) }
}

fn mud(image: Rgb, spatter: Spatter, mut liquid: Plane) -> Rgb {
    liquid.map(|v| f64::from(u8::from(v > spatter.threshold)));
    gaussian(&mut liquid, spatter.strength, 4.0, Border::Nearest);
    liquid.map(|v| if v < LEAST_MUD { 0.0 } else { v });
    let mut colours = MUD.into_iter();
    image.each(|plane| {
        let colour = colours.next().unwrap_or_default();
        for (v, m) in plane.values.iter_mut().zip(&liquid.values) {
            *v = *v * (1.0 - m) + m * colour;
        }
    })
}

fn water(image: Rgb, spatter: Spatter, liquid: &Plane) -> Rgb {
    let level = |v: &f64| if *v < spatter.threshold { 0 } else { (v * 255.0) as i32 };
    let values = liquid.values.iter().map(level).collect();
    let levels = Levels { height: liquid.height, width: liquid.width, values };
    let shade = shade(&levels);
    let depth: Vec<f64> = levels.values.iter().zip(&shade).map(|(a, b)| f64::from(a * b)).collect();
    let most = depth.iter().copied().fold(0.0, f64::max);
    if most == 0.0 {
        // No drop: the published program divides 0 by 0 here and paints the image black.
        return image;
    }
    let mut colours = WATER.into_iter();
    image.each(|plane| {
        let colour = colours.next().unwrap_or_default();
        for (v, depth) in plane.values.iter_mut().zip(&depth) {
            *v += depth / most * spatter.strength * colour;
        }
    })
}

/// Light on the drops: an embossed map of the distances to their edges.
fn shade(levels: &Levels) -> Vec<i32> {
    let distances = distances(&levels.edges(), levels.width, 20.0);
    // In 16 fractional bits, so that the box filter adds whole numbers; 9 · 20 · 2¹⁶ fits.
    let values = distances.iter().map(|v| (v * 65_536.0) as i32).collect();
    let distances = Levels { values, ..*levels };
    let smooth = distances.sums().map(|sum| (sum / 9) >> 16).equalised();
    let embossed = smooth.filter([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], Border::Reflect101);
    let embossed = embossed.map(|v| v.clamp(0, 255));
    embossed.sums().map(|sum| (sum + 4) / 9).values
}
