//! A data set that lives on the device.

use std::ops::Range;

use rift_models::dataset::{Dataset, Pixels};
use tch::{Device, Kind, Tensor};

use crate::network::TorchError;
use crate::network::device::upload;

/// Images and labels on a device, as bytes where the data set has bytes: a quarter of the memory,
/// and no copying while training.
#[derive(Debug)]
pub struct ImageSet {
    /// `N × C × H × W`, of `u8` (255 times the pixel) or `f32`.
    pixels: Tensor,
    /// `N`, of `i64`.
    label_tensor: Tensor,
    labels: Vec<usize>,
    input: [usize; 3],
    /// The number of the first image.
    first: usize,
}

/// Some images of a set.
#[derive(Debug)]
pub struct Batch {
    /// `N × C × H × W` pixels in `[0, 1]`.
    pub images: Tensor,
    /// `N` classes, of `i64`.
    pub labels: Tensor,
    /// The images' numbers, by which their noise is keyed: their places in the set, unless it is
    /// [numbered](ImageSet::numbered_from) otherwise.
    pub indices: Vec<usize>,
}

impl Batch {
    /// Some of its images.
    ///
    /// # Errors
    /// If the range goes beyond the batch.
    pub fn narrow(&self, rows: Range<usize>) -> Result<Self, TorchError> {
        let (start, length) = (rows.start as i64, rows.len() as i64);
        Ok(Self {
            images: self.images.f_narrow(0, start, length)?,
            labels: self.labels.f_narrow(0, start, length)?,
            indices: self.indices[rows].to_vec(),
        })
    }

    /// One batch of two.
    ///
    /// # Errors
    /// If their images differ in size or the device has too little memory.
    pub fn join(mut self, other: Self) -> Result<Self, TorchError> {
        self.indices.extend(other.indices);
        Ok(Self {
            images: Tensor::f_cat(&[self.images, other.images], 0)?,
            labels: Tensor::f_cat(&[self.labels, other.labels], 0)?,
            indices: self.indices,
        })
    }
}

/// Images that make no set.
#[derive(Debug, thiserror::Error)]
pub enum ImageSetError {
    /// There is not one pixel value for each of the images' positions.
    #[error("expected {expected} pixel values for {n} images of {input:?}, found {found}")]
    Size {
        /// Images.
        n: usize,
        /// Channels, height, width.
        input: [usize; 3],
        /// What they need.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// No image at all.
    #[error("expected at least 1 image, found none")]
    Empty,
    /// libtorch failed, for want of memory most of the time.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for ImageSetError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

impl ImageSet {
    /// The images of a data set, as it keeps them, in its order.
    ///
    /// # Errors
    /// If there is no image or the device has too little memory.
    pub fn new(dataset: &Dataset, device: Device) -> Result<Self, ImageSetError> {
        let (input, labels) = (dataset.input(), dataset.labels.clone());
        match &dataset.pixels {
            Pixels::Bytes(bytes) => {
                let bytes = bytes.as_standard_layout();
                Self::from_bytes(bytes.as_slice().unwrap_or_default(), input, labels, device)
            }
            Pixels::Floats(floats) => {
                let floats = floats.as_standard_layout();
                Self::from_floats(floats.as_slice().unwrap_or_default(), input, labels, device)
            }
        }
    }

    /// A set of images of bytes, `N × C × H × W`, each 255 times the pixel.
    ///
    /// # Errors
    /// If there is no image, the sizes do not agree or the device has too little memory.
    pub fn from_bytes(
        bytes: &[u8],
        input: [usize; 3],
        labels: Vec<usize>,
        device: Device,
    ) -> Result<Self, ImageSetError> {
        Self::of_tensor(&Tensor::f_from_slice(bytes)?, input, labels, device)
    }

    /// A set of images of floats in `[0, 1]`, `N × C × H × W`.
    ///
    /// # Errors
    /// If there is no image, the sizes do not agree or the device has too little memory.
    pub fn from_floats(
        floats: &[f32],
        input: [usize; 3],
        labels: Vec<usize>,
        device: Device,
    ) -> Result<Self, ImageSetError> {
        Self::of_tensor(&Tensor::f_from_slice(floats)?, input, labels, device)
    }

    fn of_tensor(
        pixels: &Tensor,
        input: [usize; 3],
        labels: Vec<usize>,
        device: Device,
    ) -> Result<Self, ImageSetError> {
        let n = labels.len();
        let (expected, found) = (n * input.iter().product::<usize>(), pixels.numel());
        if expected != found {
            return Err(ImageSetError::Size { n, input, expected, found });
        }
        if n == 0 {
            return Err(ImageSetError::Empty);
        }
        let [c, h, w] = input.map(|side| side as i64);
        let pixels = pixels.f_view([n as i64, c, h, w])?.f_to_device(device)?;
        let label_tensor: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
        let label_tensor = Tensor::f_from_slice(&label_tensor)?.f_to_device(device)?;
        Ok(Self { pixels, label_tensor, labels, input, first: 0 })
    }

    /// The same set with its images numbered from `first` on, so that no image of another set has
    /// the same number, and with it the same noise.
    pub fn numbered_from(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// The number of the image at a place.
    pub(super) fn number(&self, place: usize) -> usize {
        self.first + place
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none; no set is.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels, height and width of an image.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// The class of every image.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The images as they are kept, `N × C × H × W` of `u8` or `f32`.
    pub(super) fn pixels(&self) -> &Tensor {
        &self.pixels
    }

    /// The images of a range of places.
    ///
    /// # Errors
    /// If the range goes beyond the set or the device has too little memory.
    pub fn batch(&self, rows: Range<usize>) -> Result<Batch, TorchError> {
        let length = rows.len() as i64;
        Ok(Batch {
            images: to_unit(&self.pixels.f_narrow(0, rows.start as i64, length)?)?,
            labels: self.label_tensor.f_narrow(0, rows.start as i64, length)?,
            indices: rows.map(|row| self.number(row)).collect(),
        })
    }

    /// The images of the first `limit` places in batches, in order.
    pub fn batches(
        &self,
        batch: usize,
        limit: Option<usize>,
    ) -> impl Iterator<Item = Result<Batch, TorchError>> + '_ {
        let n = limit.unwrap_or(usize::MAX).min(self.len());
        let batch = batch.max(1);
        (0..n)
            .step_by(batch)
            .map(move |start| self.batch(start..start.saturating_add(batch).min(n)))
    }

    /// The images at these places.
    ///
    /// # Errors
    /// If a place is beyond the set or the device has too little memory.
    pub fn select(&self, indices: &[usize]) -> Result<Batch, TorchError> {
        let places = self.places(indices)?;
        Ok(Batch {
            images: to_unit(&self.pixels.f_index_select(0, &places)?)?,
            labels: self.label_tensor.f_index_select(0, &places)?,
            indices: indices.iter().map(|index| self.number(*index)).collect(),
        })
    }

    /// A set of `n` of the images, spread evenly over this one, which may be sorted.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn spread(&self, n: usize) -> Result<Self, TorchError> {
        let n = n.clamp(1, self.len());
        let picked: Vec<usize> = (0..n).map(|place| place * self.len() / n).collect();
        let places = self.places(&picked)?;
        Ok(Self {
            pixels: self.pixels.f_index_select(0, &places)?,
            label_tensor: self.labels_at(&places)?,
            labels: picked.iter().map(|place| self.labels[*place]).collect(),
            input: self.input,
            first: self.first,
        })
    }

    /// The labels at these places.
    pub(super) fn labels_at(&self, places: &Tensor) -> Result<Tensor, TorchError> {
        Ok(self.label_tensor.f_index_select(0, places)?)
    }

    /// Places as a tensor on the set's device.
    pub(super) fn places(&self, indices: &[usize]) -> Result<Tensor, TorchError> {
        let places: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
        upload(&Tensor::f_from_slice(&places)?, self.pixels.device())
    }
}

/// Bytes as pixels in `[0, 1]`; floats as they are.
pub(super) fn to_unit(pixels: &Tensor) -> Result<Tensor, TorchError> {
    Ok(match pixels.f_kind()? {
        Kind::Uint8 => pixels.f_to_kind(Kind::Float)?.f_div_scalar_(255.0)?,
        _ => pixels.shallow_clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rift_models::dataset::{Request, Split};

    use super::*;
    use crate::network::to_vec;

    #[test]
    fn shows_the_data_sets_pixels_bit_for_bit() {
        let path = Path::new("synthetic:3x2x6x5,train=40,test=10");
        let dataset = Dataset::open(path, &Request::new(Split::Test)).unwrap();
        let set = ImageSet::new(&dataset, Device::Cpu).unwrap();
        assert_eq!((set.len(), set.input()), (10, [2, 6, 5]));
        let batch = set.batch(3..7).unwrap();
        assert_eq!(to_vec(&batch.images).unwrap(), dataset.batch(3..7).into_raw_vec_and_offset().0);
        assert_eq!(batch.indices, [3, 4, 5, 6]);
        let picked = set.select(&[6, 3]).unwrap();
        assert_eq!(picked.images.get(0), batch.images.get(3));
        assert_eq!(picked.labels.int64_value(&[1]), dataset.labels[3] as i64);
        let sizes: Vec<usize> =
            set.batches(4, Some(9)).map(|batch| batch.unwrap().indices.len()).collect();
        assert_eq!(sizes, [4, 4, 1]);
        assert!(set.select(&[10]).is_err());
        let some = set.spread(4).unwrap();
        assert_eq!(some.labels(), [0, 2, 5, 7].map(|place| dataset.labels[place]));
        assert_eq!(some.batch(1..2).unwrap().images, set.batch(2..3).unwrap().images);
        assert_eq!(set.spread(99).unwrap().len(), 10);
    }

    #[test]
    fn refuses_sizes_that_do_not_agree() {
        let error = ImageSet::from_bytes(&[0; 5], [1, 2, 1], vec![0; 3], Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("expected 6 pixel values"), "{error}");
        assert!(ImageSet::from_bytes(&[], [1, 2, 1], vec![], Device::Cpu).is_err());
    }
}
