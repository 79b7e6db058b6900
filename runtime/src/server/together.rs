//! One session over several threads, for what comes when there is no other work.

use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use ndarray::Array4;
use rift_models::threat::NoiseKey;

use crate::session::{Classifier, Packer, Runner, SessionError, Stop};

/// Images of noise on which it is held against a session on one thread.
const IMAGES: usize = 4;

/// Cores sleep more deeply the longer they have nothing to do. After this long it takes as much time to wake
/// them as they save on a small network.
const BRISK: Duration = Duration::from_micros(500);

/// A runner that all workers of a model share: whoever is alone takes it.
#[derive(Debug)]
pub(super) struct Together(Mutex<Runner>);

impl Together {
    /// A runner on `threads` threads, if it gives the logits of `single`, to the bit: a client must not
    /// get another answer for having come at a quiet time.
    pub(super) fn new(
        classifier: &Classifier,
        (largest, threads): (usize, usize),
        single: &mut Runner,
    ) -> Result<Option<Self>, SessionError> {
        let mut runner = Runner::wide(classifier, largest, threads)?;
        let images = noise(classifier);
        let one = images.len() / IMAGES;
        for images in [&images[..one], &images] {
            if logits(&mut runner, images)? != logits(single, images)? {
                tracing::warn!(
                    model = %classifier.path().display(),
                    threads,
                    "the model's logits depend on the number of threads: every run is on one"
                );
                return Ok(None);
            }
        }
        Ok(Some(Self(Mutex::new(runner))))
    }

    /// The runner, unless another worker has it, or the model has been `idle` so long that one thread is
    /// done sooner than the others are awake.
    pub(super) fn take(&self, idle: Duration) -> Option<MutexGuard<'_, Runner>> {
        if idle > BRISK {
            return None;
        }
        match self.0.try_lock() {
            Ok(runner) => Some(runner),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn noise(classifier: &Classifier) -> Vec<u8> {
    let [c, h, w] = classifier.input();
    let mut images = Array4::zeros((IMAGES, c, h, w));
    let key = NoiseKey { seed: 0, attack: "together", restart: 0 };
    for (sample, mut image) in images.outer_iter_mut().enumerate() {
        let mut draws = key.stream(sample);
        image.map_inplace(|pixel| *pixel = draws.uniform());
    }
    Packer::new(classifier).pack(&images.view())
}

/// The bits of the logits.
fn logits(runner: &mut Runner, images: &[u8]) -> Result<Vec<u32>, SessionError> {
    let mut logits = Vec::new();
    runner.push(images);
    runner.run(&Stop::new()?, &mut logits)?;
    Ok(logits.into_iter().map(f32::to_bits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_models::{conv_net, linear_net};

    #[test]
    fn only_the_same_logits_and_only_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let [net, other] =
            [("m.onnx", conv_net(None)), ("other.onnx", linear_net())].map(|(name, model)| {
                let path = folder.path().join(name);
                model.write(&path).unwrap();
                Classifier::open(&path).unwrap()
            });
        let mut single = Runner::new(&net, 4).unwrap();
        let together = Together::new(&net, (4, 2), &mut single).unwrap().unwrap();
        assert!(together.take(BRISK * 2).is_none());
        let taken = together.take(BRISK / 2).unwrap();
        assert!(together.take(BRISK / 2).is_none());
        drop(taken);
        assert!(together.take(BRISK / 2).is_some());
        // As if threads had made another model of it.
        let mut single = Runner::new(&other, 4).unwrap();
        assert!(Together::new(&net, (4, 2), &mut single).unwrap().is_none());
    }
}
