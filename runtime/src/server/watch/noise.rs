//! Noisy copies of images, the same for the same picture.

use rift_models::artifact::Digest;
use rift_models::threat::{AttackSpec, Epsilon, NoiseKey, Norm};

use crate::attack::ball::Ball;
use crate::session::{Classifier, Packer};

/// Noisy copies of each image.
pub(in crate::server) const DRAWS: usize = 4;

/// The noise: a random point of the ball of the model's threat model, as random starts of attacks are.
#[derive(Clone, Debug)]
pub(in crate::server) struct Noise {
    /// The norm.
    pub(in crate::server) norm: Norm,
    /// The radius, in pixel units.
    pub(in crate::server) eps: Epsilon,
}

/// The norm and the radius that a model was trained against, or those that are usual.
pub(in crate::server) fn threat(classifier: &Classifier) -> (Norm, Epsilon) {
    let trained = classifier.bundle().and_then(|bundle| bundle.card.threat.clone());
    let threat = trained.unwrap_or_else(AttackSpec::paper);
    (threat.norm, threat.eps)
}

impl Noise {
    /// That of a model's threat model.
    pub(super) fn of(classifier: &Classifier) -> Self {
        let (norm, eps) = threat(classifier);
        Self { norm, eps }
    }

    /// Images as the model's input holds them, each followed by its noisy copies.
    pub(super) fn with_copies(&self, packer: &Packer, images: &[u8]) -> Vec<u8> {
        let pixels = packer.unpack(images);
        let n = pixels.dim().0;
        let size = images.len() / n.max(1);
        let mut all = Vec::with_capacity(images.len() * (1 + DRAWS));
        for (image, pixels) in images.chunks_exact(size.max(1)).zip(pixels.outer_iter()) {
            all.extend_from_slice(image);
            let centre: Vec<f32> = pixels.iter().copied().collect();
            let ball = Ball { norm: self.norm, eps: self.eps.value(), centre: &centre };
            // By content, so that nobody gets another answer by asking again.
            let [a, b, c, d, e, f, g, h, ..] = Digest::of_bytes(image).bytes();
            let sample = u64::from_le_bytes([a, b, c, d, e, f, g, h]) as usize;
            for draw in 0..DRAWS {
                let key = NoiseKey { seed: 0, attack: "watch", restart: draw as u32 };
                let mut copy = pixels.to_owned().insert_axis(ndarray::Axis(0));
                if let Some(copy) = copy.as_slice_mut() {
                    ball.random_start(&key, sample, copy);
                }
                all.extend(packer.pack(&copy.view()));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_models::{conv_net, images};

    #[test]
    fn copies_belong_to_the_picture_and_stay_in_the_threat_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        conv_net(None).write(&path).unwrap();
        let classifier = Classifier::open(&path).unwrap();
        let (noise, packer) = (Noise::of(&classifier), Packer::new(&classifier));
        let eps = 8.0 / 255.0;
        let pixels = images(3);
        let all = packer.unpack(&noise.with_copies(&packer, &packer.pack(&pixels.view())));
        assert_eq!(all.dim().0, 3 * (1 + DRAWS));
        for (at, copy) in all.outer_iter().enumerate() {
            let original = pixels.index_axis(ndarray::Axis(0), at / (1 + DRAWS));
            let distance = Norm::Linf.of(copy.iter().zip(&original).map(|(a, b)| a - b));
            if at % (1 + DRAWS) == 0 {
                assert_eq!(distance, 0.0);
            } else {
                assert!(distance > 0.9 * eps && distance <= eps + 1e-6, "{distance}");
            }
            assert!(copy.iter().all(|value| (0.0..=1.0).contains(value)));
        }
        // In whatever company a picture comes.
        let second = pixels.slice(ndarray::s![1..2, .., .., ..]);
        let alone = packer.unpack(&noise.with_copies(&packer, &packer.pack(&second)));
        assert_eq!(alone, all.slice(ndarray::s![1 + DRAWS..2 * (1 + DRAWS), .., .., ..]));
    }
}
