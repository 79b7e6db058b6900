//! Noise: Gaussian, shot, impulse and speckle.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Poisson, StandardNormal};

use super::planes::Rgb;

/// x + N(0, σ²), independently for every value.
pub(super) fn gaussian_noise(image: Rgb, sigma: f64, generator: &mut impl Rng) -> Rgb {
    image.each(|plane| {
        for v in &mut plane.values {
            *v += sigma * generator.sample::<f64, _>(StandardNormal);
        }
    })
}

/// x + x · N(0, σ²).
pub(super) fn speckle_noise(image: Rgb, sigma: f64, generator: &mut impl Rng) -> Rgb {
    image.each(|plane| {
        for v in &mut plane.values {
            *v += *v * sigma * generator.sample::<f64, _>(StandardNormal);
        }
    })
}

/// Poisson(x · photons) / photons.
pub(super) fn shot_noise(image: Rgb, photons: f64, generator: &mut impl Rng) -> Rgb {
    // A distribution a level that a byte can have, set up when it is first met.
    let mut distributions: Vec<Option<Poisson<f64>>> = vec![None; 256];
    image.each(|plane| {
        for v in &mut plane.values {
            let known = &mut distributions[(*v * 255.0).round() as usize & 255];
            if known.is_none() {
                *known = Poisson::new(*v * photons).ok();
            }
            // None for a level of 0, of which no photon comes.
            *v = known.map_or(0.0, |poisson| poisson.sample(generator)) / photons;
        }
    })
}

/// A share of the values becomes 0 or 1 (scikit-image's `random_noise`, mode `s&p`).
pub(super) fn impulse_noise(image: Rgb, share: f64, generator: &mut impl Rng) -> Rgb {
    image.each(|plane| {
        for v in &mut plane.values {
            if generator.random::<f64>() < share {
                *v = f64::from(u8::from(generator.random::<bool>()));
            }
        }
    })
}
