//! Random crops and flips on the device.

use rand::RngExt;
use rift_models::threat::NoiseKey;
use tch::Tensor;

use super::ImageSet;
use super::image_set::to_unit;
use crate::network::TorchError;
use crate::network::device::upload;

/// Random crop out of an image padded by reflection, and random horizontal flip.
///
/// Every image's draw is keyed by seed, epoch and place, so that a resumed training sees what an
/// uninterrupted one sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Augment {
    /// Pixels of reflection at each border; the crop starts at any of the `2 pad + 1` offsets.
    pub pad: usize,
    /// Whether half of the images are mirrored.
    pub flip: bool,
}

/// What happens to one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Draw {
    /// Rows and columns that the crop starts after the padded image.
    offset: [usize; 2],
    mirrored: bool,
}

impl Augment {
    /// Leaves the images as they are.
    pub const NONE: Self = Self { pad: 0, flip: false };

    /// The reference's padding for images of this side: 4 for 32 × 32, 8 for 64 × 64, 3 for
    /// 28 × 28.
    pub fn pad_for(input: [usize; 3]) -> usize {
        input[1].min(input[2]) / 8
    }

    /// The images at `indices`, each cropped and flipped by its draw of this epoch, with labels.
    ///
    /// # Shapes
    /// `N × C × H × W` pixels in `[0, 1]`, and `N` labels.
    ///
    /// # Errors
    /// If a place is beyond the set or the device has too little memory.
    pub(super) fn apply(
        self,
        set: &ImageSet,
        indices: &[usize],
        seed: u64,
        epoch: usize,
    ) -> Result<(Tensor, Tensor), TorchError> {
        let places = set.places(indices)?;
        let labels = set.labels_at(&places)?;
        let pixels = set.pixels().f_index_select(0, &places)?;
        if self == Self::NONE {
            return Ok((to_unit(&pixels)?, labels));
        }
        let key = NoiseKey { seed, attack: "augment", restart: epoch as u32 };
        let draws: Vec<Draw> =
            indices.iter().map(|index| self.draw(&key, set.number(*index))).collect();
        Ok((to_unit(&self.gather(&pixels, &draws)?)?, labels))
    }

    fn draw(self, key: &NoiseKey, index: usize) -> Draw {
        let mut generator = key.generator(index);
        let mut offset = || generator.random_range(0..=2 * self.pad);
        Draw { offset: [offset(), offset()], mirrored: self.flip && generator.random::<bool>() }
    }

    /// Takes every image's pixels from where its draw says, in one gather.
    fn gather(self, pixels: &Tensor, draws: &[Draw]) -> Result<Tensor, TorchError> {
        let (n, c, h, w) = pixels.size4()?;
        let mut rows = Vec::with_capacity(draws.len() * h as usize);
        let mut columns = Vec::with_capacity(draws.len() * w as usize);
        for Draw { offset: [top, left], mirrored } in draws {
            let start = |offset: usize| offset as i64 - self.pad as i64;
            rows.extend((0..h).map(|y| reflect(y + start(*top), h) * w));
            columns.extend((0..w).map(|x| {
                let x = if *mirrored { w - 1 - x } else { x };
                reflect(x + start(*left), w)
            }));
        }
        let device = pixels.device();
        let rows = upload(&Tensor::f_from_slice(&rows)?.f_view([n, h, 1])?, device)?;
        let columns = upload(&Tensor::f_from_slice(&columns)?.f_view([n, 1, w])?, device)?;
        let from = rows.f_add(&columns)?.f_view([n, 1, h * w])?.f_expand([n, c, h * w], false)?;
        Ok(pixels.f_view([n, c, h * w])?.f_gather(2, &from, false)?.f_view([n, c, h, w])?)
    }
}

/// The position that reflection at the borders shows at `position`; the border itself is not
/// repeated. `position` lies within `n − 1` of the image.
fn reflect(position: i64, n: i64) -> i64 {
    if position < 0 {
        -position
    } else if position >= n {
        2 * (n - 1) - position
    } else {
        position
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tch::Device;

    use super::*;
    use crate::network::to_vec;

    const INPUT: [usize; 3] = [2, 6, 8];

    fn set(n: usize) -> ImageSet {
        let bytes: Vec<u8> = (0..n * 96).map(|i| (i % 251) as u8).collect();
        ImageSet::from_bytes(&bytes, INPUT, vec![0; n], Device::Cpu).unwrap()
    }

    #[test]
    fn every_offset_and_both_sides_are_drawn() {
        let augment = Augment { pad: 2, flip: true };
        let key = NoiseKey { seed: 0, attack: "augment", restart: 0 };
        let drawn: BTreeSet<Draw> = (0..2000).map(|i| augment.draw(&key, i)).collect();
        assert_eq!(drawn.len(), 5 * 5 * 2);
        assert_eq!(drawn.iter().map(|d| d.offset[0]).max(), Some(4), "the last offset is possible");
        let still = Augment { pad: 2, flip: false };
        assert!((0..100).all(|i| !still.draw(&key, i).mirrored));
    }

    #[test]
    fn is_libtorchs_reflection_cropped_and_flipped() {
        let set = set(1);
        let augment = Augment { pad: 3, flip: true };
        let image = to_unit(set.pixels()).unwrap();
        let padded = image.reflection_pad2d([3, 3, 3, 3]);
        for (top, left, mirrored) in [(0, 0, false), (6, 6, true), (3, 3, false), (1, 5, true)] {
            let draw = Draw { offset: [top, left], mirrored };
            let ours = to_unit(&augment.gather(set.pixels(), &[draw]).unwrap()).unwrap();
            let crop = padded.narrow(2, top as i64, 6).narrow(3, left as i64, 8);
            let theirs = if mirrored { crop.flip([3]) } else { crop };
            assert_eq!(to_vec(&ours).unwrap(), to_vec(&theirs).unwrap(), "{draw:?}");
        }
    }

    #[test]
    fn draws_belong_to_the_image_and_the_epoch() {
        let set = set(8);
        let augment = Augment { pad: 1, flip: true };
        let images = |indices: &[usize], epoch| {
            to_vec(&augment.apply(&set, indices, 5, epoch).unwrap().0).unwrap()
        };
        let together = images(&[3, 1, 7], 2);
        let apart: Vec<f32> = [3, 1, 7].iter().flat_map(|i| images(&[*i], 2)).collect();
        assert_eq!(together, apart);
        let all: Vec<usize> = (0..8).collect();
        assert_ne!(images(&all, 2), images(&all, 3));
    }
}
