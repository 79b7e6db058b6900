//! The order in which a training sees its images.

use rand::seq::SliceRandom;
use rift_models::threat::NoiseKey;

use super::{Augment, Batch, ImageSet};
use crate::network::TorchError;

/// Shuffled, augmented batches, epoch by epoch.
///
/// Order and augmentation depend on nothing but seed, epoch and place, so an epoch can be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    /// The images.
    pub set: &'a ImageSet,
    /// Images in a batch; the last of an epoch may have fewer.
    pub batch: usize,
    /// What is done to each image.
    pub augment: Augment,
    /// The seed of order and augmentation.
    pub seed: u64,
}

impl<'a> Loader<'a> {
    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        let n = self.set.len();
        let batches = n.div_ceil(self.batch);
        // A single image has no variance to normalise by.
        batches - usize::from(batches > 1 && self.batch > 1 && n % self.batch == 1)
    }

    /// Whether an epoch has no batch; a set of one image makes one of one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of an epoch. A last batch of a single image is left out, because batch
    /// normalisation needs two.
    pub fn epoch(&self, epoch: usize) -> impl Iterator<Item = Result<Batch, TorchError>> + use<'a> {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from the batch `first` on: an epoch that was interrupted.
    pub fn epoch_from(
        &self,
        epoch: usize,
        first: usize,
    ) -> impl Iterator<Item = Result<Batch, TorchError>> + use<'a> {
        let loader = *self;
        let order = self.order(epoch);
        (first..self.len()).map(move |batch| {
            let end = ((batch + 1) * loader.batch).min(order.len());
            let indices = order[batch * loader.batch..end].to_vec();
            let (images, labels) =
                loader.augment.apply(loader.set, &indices, loader.seed, epoch)?;
            Ok(Batch { images, labels, indices })
        })
    }

    /// The places of the set in the order of an epoch.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let key = NoiseKey { seed: self.seed, attack: "order", restart: epoch as u32 };
        let mut order: Vec<usize> = (0..self.set.len()).collect();
        order.shuffle(&mut key.generator(0));
        order
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn seen(n: usize, batch: usize, epoch: usize) -> Vec<Vec<usize>> {
        let set = ImageSet::from_bytes(&vec![0; n], [1, 1, 1], vec![0; n], Device::Cpu).unwrap();
        let loader = Loader { set: &set, batch, augment: Augment::NONE, seed: 1 };
        let batches: Vec<_> = loader.epoch(epoch).map(|b| b.unwrap().indices).collect();
        assert_eq!(batches.len(), loader.len());
        for first in 0..=batches.len() {
            let rest = loader.epoch_from(epoch, first).map(|b| b.unwrap().indices);
            assert_eq!(rest.collect::<Vec<_>>(), batches[first..]);
        }
        batches
    }

    #[test]
    fn an_epoch_is_a_permutation_of_its_own() {
        let first = seen(10, 4, 0);
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        let mut places = first.concat();
        places.sort_unstable();
        assert_eq!(places, (0..10).collect::<Vec<_>>());
        assert_eq!(first, seen(10, 4, 0));
        assert_ne!(first, seen(10, 4, 1));
    }

    #[test]
    fn a_last_batch_of_one_is_left_out() {
        assert_eq!(seen(9, 4, 0).iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(seen(1, 4, 0).len(), 1);
        assert_eq!(seen(3, 1, 0).len(), 3);
    }
}
