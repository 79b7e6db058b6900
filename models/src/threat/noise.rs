//! Noise that belongs to the sample.
//!
//! Random starts come from a counter-based generator keyed by (seed, attack, restart, sample), so
//! an attack gives the same result for any batch size, shard and thread count, and two audits can
//! be compared image by image.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use sha2::{Digest, Sha256};

use super::Norm;

/// What a stream of noise is for; together with the sample's index it names one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseKey {
    /// The user's seed.
    pub seed: u64,
    /// The attack's name, so that two attacks of one audit start apart.
    pub attack: &'static str,
    /// The restart, from 0.
    pub restart: u32,
}

impl NoiseKey {
    /// The generator of one sample's noise.
    pub fn generator(&self, sample: usize) -> impl Rng + use<> {
        self.stream(sample).0
    }

    /// The same generator as a sequence of draws.
    pub fn stream(&self, sample: usize) -> Stream {
        let mut hash = Sha256::new();
        hash.update(b"rift noise 1");
        hash.update(self.seed.to_le_bytes());
        hash.update(self.restart.to_le_bytes());
        hash.update(self.attack.as_bytes());
        let mut generator = ChaCha8Rng::from_seed(hash.finalize().into());
        generator.set_stream(sample as u64);
        Stream(generator)
    }
}

/// A long sequence of draws that belongs to one sample, for attacks that search at random.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// A number in `[0, 1)`.
    pub fn uniform(&mut self) -> f32 {
        self.0.random()
    }

    /// A whole number in `0..n`; 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// 1 or −1.
    pub fn sign(&mut self) -> f32 {
        if self.0.random::<bool>() { 1.0 } else { -1.0 }
    }

    /// A number from the standard normal distribution.
    pub fn normal(&mut self) -> f32 {
        self.0.sample(StandardNormal)
    }
}

/// Fills `out` with a random point of the ball of radius `eps` around 0.
///
/// L∞: every value uniform in `[−ε, ε)`. L2: a Gaussian direction, scaled to a length uniform in
/// `[0, ε)`, as torchattacks' `PGDL2` does.
///
/// # Units
/// `eps` and `out` are in pixel units.
pub fn random_start(key: &NoiseKey, sample: usize, norm: Norm, eps: f32, out: &mut [f32]) {
    let mut generator = key.generator(sample);
    match norm {
        Norm::Linf => {
            for value in out.iter_mut() {
                *value = (2.0 * generator.random::<f32>() - 1.0) * eps;
            }
        }
        Norm::L2 => {
            for value in out.iter_mut() {
                *value = generator.sample(StandardNormal);
            }
            let length = Norm::L2.of(out.iter().copied()).max(f32::MIN_POSITIVE);
            let scale = generator.random::<f32>() * eps / length;
            for value in out.iter_mut() {
                *value *= scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, restart: u32, sample: usize, norm: Norm) -> Vec<f32> {
        let mut out = vec![0.0; 300];
        random_start(&NoiseKey { seed, attack: "pgd", restart }, sample, norm, 0.5, &mut out);
        out
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let first = draw(1, 0, 7, Norm::Linf);
        assert_eq!(first, draw(1, 0, 7, Norm::Linf));
        for other in
            [draw(2, 0, 7, Norm::Linf), draw(1, 1, 7, Norm::Linf), draw(1, 0, 8, Norm::Linf)]
        {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn stays_inside_the_ball_and_fills_it() {
        let linf = draw(3, 0, 0, Norm::Linf);
        assert!(Norm::Linf.of(linf.iter().copied()) <= 0.5);
        assert!(linf.iter().any(|v| *v > 0.4) && linf.iter().any(|v| *v < -0.4));
        let lengths: Vec<f32> = (0..50).map(|i| Norm::L2.of(draw(3, 0, i, Norm::L2))).collect();
        assert!(lengths.iter().all(|l| *l <= 0.5 + 1e-6));
        assert!(lengths.iter().any(|l| *l > 0.4) && lengths.iter().any(|l| *l < 0.1));
    }

    #[test]
    fn the_stream_is_pinned() {
        // A change of generator would silently change every published audit.
        let pinned = draw(0, 0, 0, Norm::Linf);
        assert_eq!(pinned[..3], PINNED, "{:?}", &pinned[..3]);
    }

    #[test]
    fn a_stream_draws_what_it_says() {
        let mut stream = NoiseKey { seed: 0, attack: "square", restart: 0 }.stream(3);
        let draws: Vec<usize> = (0..200).map(|_| stream.below(5)).collect();
        assert!((0..5).all(|value| draws.contains(&value)) && draws.iter().all(|d| *d < 5));
        let signs: f32 = (0..200).map(|_| stream.sign()).sum();
        assert!(signs.abs() < 60.0 && stream.below(0) == 0);
        let squares: f32 = (0..500).map(|_| stream.normal().powi(2)).sum();
        assert!((400.0..600.0).contains(&squares), "{squares}");
    }

    const PINNED: [f32; 3] = [-0.352_972_45, -0.392_110_88, -0.161_366_4];
}
