//! The order in which a training sees its images.

use rand::seq::SliceRandom;
use rift_models::threat::NoiseKey;

use super::{Augment, Batch, ImageSet};
use crate::network::TorchError;

/// More images, mixed into every batch.
///
/// As in Gowal et al. 2020 and Wang et al. 2023: an epoch has as many batches as without them; in
/// each, so many images of this set are drawn with replacement, and the rest is the next of the
/// shuffled others, of which an epoch sees only that part.
#[derive(Clone, Copy, Debug)]
pub struct Extra<'a> {
    /// The images, numbered behind those that they are mixed with.
    pub set: &'a ImageSet,
    /// Their part of a batch, rounded down to whole images.
    pub fraction: f64,
}

/// Shuffled, augmented batches, epoch by epoch.
///
/// Order and augmentation depend on nothing but seed, epoch and place, so an epoch can be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    /// The images.
    pub set: &'a ImageSet,
    /// What is mixed in.
    pub extra: Option<Extra<'a>>,
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
            let size = loader.batch.min(order.len() - batch * loader.batch);
            let own = size - loader.extras(size);
            let start = batch * (loader.batch - loader.extras(loader.batch));
            let mixed = loader.part(loader.set, &order[start..start + own], epoch)?;
            match loader.extra {
                None => Ok(mixed),
                Some(Extra { set, .. }) => {
                    let drawn = loader.draw(set.len(), size - own, [epoch, batch]);
                    mixed.join(loader.part(set, &drawn, epoch)?)
                }
            }
        })
    }

    /// How many images of a batch come from the extra set.
    fn extras(&self, size: usize) -> usize {
        self.extra.map_or(0, |extra| (size as f64 * extra.fraction) as usize)
    }

    /// Places of a set of `n` images, drawn for a batch.
    fn draw(&self, n: usize, count: usize, [epoch, batch]: [usize; 2]) -> Vec<usize> {
        let key = NoiseKey { seed: self.seed, attack: "extra", restart: epoch as u32 };
        let mut stream = key.stream(batch);
        (0..count).map(|_| stream.below(n)).collect()
    }

    fn part(&self, set: &ImageSet, places: &[usize], epoch: usize) -> Result<Batch, TorchError> {
        let (images, labels) = self.augment.apply(set, places, self.seed, epoch)?;
        let indices = places.iter().map(|place| set.number(*place)).collect();
        Ok(Batch { images, labels, indices })
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
        let loader = Loader { set: &set, extra: None, batch, augment: Augment::NONE, seed: 1 };
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

    #[test]
    fn extra_images_have_their_part_of_every_batch() {
        let set = |n, class, value| {
            ImageSet::from_bytes(&vec![value; n], [1, 1, 1], vec![class; n], Device::Cpu).unwrap()
        };
        let (own, more) = (set(50, 0, 10), set(7, 1, 200).numbered_from(50));
        let extra = Some(Extra { set: &more, fraction: 0.7 });
        let loader = Loader { set: &own, extra, batch: 16, augment: Augment::NONE, seed: 1 };
        let batches: Vec<Batch> = loader.epoch(3).map(Result::unwrap).collect();
        let parts: Vec<[usize; 2]> = batches
            .iter()
            .map(|batch| {
                let extra = batch.indices.iter().filter(|index| **index >= 50).count();
                assert_eq!(batch.labels.sum(tch::Kind::Int64).int64_value(&[]), extra as i64);
                let bright = batch.images.gt(0.5).sum(tch::Kind::Int64);
                assert_eq!(bright.int64_value(&[]), extra as i64, "labels go with their images");
                [batch.indices.len() - extra, extra]
            })
            .collect();
        assert_eq!(parts, [[5, 11], [5, 11], [5, 11], [1, 1]], "as many batches as without");
        let mut seen: Vec<usize> =
            batches.iter().flat_map(|b| b.indices.iter().copied()).filter(|i| *i < 50).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 16, "no image of the set twice in an epoch");
        let rest = loader.epoch_from(3, 2).map(|batch| batch.unwrap().indices);
        let later: Vec<_> = batches[2..].iter().map(|batch| batch.indices.clone()).collect();
        assert_eq!(rest.collect::<Vec<_>>(), later, "an interrupted epoch goes on as it was");
        assert_ne!(loader.epoch(4).next().unwrap().unwrap().indices, batches[0].indices);
    }
}
