//! Datasets, recognised by content.
//!
//! [`Dataset::open`] reads what lies at a path: CIFAR-10 and CIFAR-100 in the official binary
//! version, Parquet as on the Hugging Face hub, IDX (the MNIST family), Tiny-ImageNet's folders,
//! class folders of images, `.npz` archives, CIFAR-10-C's pairs of `.npy`, or a [`Synthetic`] set
//! that is made up on the spot. A folder that holds one of them, at most two folders down, will do.
//!
//! The validation images are cut from the training images by a seeded, stratified draw
//! ([`ValidationDraw`]), so that nothing is ever chosen on the test images. A data set with only
//! one labelled part (`.npz`, class folders without `train` and `test`) serves it for the split
//! asked for: whole as the test images, with validation cut from it otherwise. Who both chooses and
//! reports has to ask for [two parts](Dataset::in_two_parts).
//!
//! Layouts that their publishers shuffled keep the order of their files; in those that store images
//! by class the classes take turns, so that every prefix is balanced. A sample's index is its
//! position in that order. [`Request::limit`] takes the first images after the split is cut, and no
//! more than these are decoded.

mod archive;
mod cifar;
mod class_names;
mod classes;
mod error;
mod idx;
mod image_folder;
mod npy;
mod npz;
#[cfg(test)]
mod npz_tests;
mod parquet;
#[cfg(test)]
mod parquet_tests;
mod part;
mod picture;
mod pixels;
mod recognise;
mod resize;
mod saved;
#[cfg(test)]
mod shared_data_tests;
mod split;
mod synthetic;
#[cfg(test)]
mod test_files;
mod tiny_imagenet;

pub use classes::{ClassesError, check_classes};
pub use error::{DatasetError, Place};
pub use pixels::Pixels;
pub use saved::Saved;
pub use split::{Request, Split, ValidationDraw};
pub use synthetic::Synthetic;

use std::ops::Range;
use std::path::Path;

use ndarray::Array4;

use crate::artifact::{Digest, DigestBuilder};
use recognise::Layout;

/// Whether a file by its name may be part of a data set in the folder where it lies.
///
/// ```
/// use std::path::Path;
///
/// use rift_models::dataset::may_be_read;
///
/// let [data, other] = ["d/train.npz", "d/adversarial.npz"];
/// assert!(may_be_read(Path::new(data)) && !may_be_read(Path::new(other)));
/// ```
pub fn may_be_read(path: &Path) -> bool {
    /// What layouts other than class folders of images have.
    const ENDINGS: [&str; 5] = ["bin", "gz", "npy", "parquet", "txt"];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_of_layout =
        path.extension().is_some_and(|found| ENDINGS.iter().any(|ending| found == *ending));
    let is_of_archive = ["train.npz", "test.npz"].contains(&&*name);
    is_of_layout || is_of_archive || name.ends_with("ubyte") || image_folder::is_image(&name)
}

/// Labelled images, one split of a data set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What the images are for.
    pub split: Split,
    /// The images.
    pub pixels: Pixels,
    /// A label an image, each below the number of classes.
    pub labels: Vec<usize>,
    /// A name a class.
    pub classes: Vec<String>,
    /// Whether the data names no classes: they are numbered, as many as the largest label tells.
    pub counted: bool,
    /// SHA-256 over shape, pixels, labels and class names of what is loaded.
    pub digest: Digest,
}

impl Dataset {
    /// Reads the data set at `path`, or makes the one that a path `synthetic:…` describes.
    ///
    /// # Errors
    /// If nothing is there, it cannot be recognised, it is damaged, or it has no images for the
    /// split.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use rift_models::dataset::{Dataset, Request, Split};
    ///
    /// let request = Request::new(Split::Test).limit(20);
    /// let images = Dataset::open(Path::new("synthetic:10x3x32x32"), &request)?;
    /// assert_eq!((images.len(), images.input()), (20, [3, 32, 32]));
    /// # Ok::<(), rift_models::dataset::DatasetError>(())
    /// ```
    pub fn open(path: &Path, request: &Request) -> Result<Self, DatasetError> {
        match path.to_str() {
            Some(text) if text.starts_with(synthetic::PREFIX) => {
                Self::read(path, &text.parse::<Synthetic>()?, request)
            }
            _ => Self::read(path, recognise::recognise(path)?.as_ref(), request),
        }
    }

    /// Checks that the data set at `path` has test images of its own: not one labelled part that
    /// training and validation images are cut from, too. No image is read.
    ///
    /// # Errors
    /// If it is one part, nothing is there, or it cannot be recognised.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use rift_models::dataset::Dataset;
    ///
    /// assert!(Dataset::in_two_parts(Path::new("synthetic:10x3x32x32")).is_ok());
    /// ```
    pub fn in_two_parts(path: &Path) -> Result<(), DatasetError> {
        if path.to_str().is_some_and(|text| text.starts_with(synthetic::PREFIX)) {
            return Ok(());
        }
        let layout = recognise::recognise(path)?;
        if layout.is_one_part() {
            return Err(DatasetError::OnePart { path: path.to_owned(), layout: layout.name() });
        }
        Ok(())
    }

    /// Makes a synthetic data set.
    ///
    /// # Errors
    /// If it is too large, or the split is empty.
    pub fn synthetic(synthetic: &Synthetic, request: &Request) -> Result<Self, DatasetError> {
        Self::read(Path::new(&synthetic.to_string()), synthetic, request)
    }

    fn read(path: &Path, layout: &dyn Layout, request: &Request) -> Result<Self, DatasetError> {
        let half = request.split.into();
        let empty = |expected| {
            let (path, split) = (path.to_owned(), request.split);
            DatasetError::NoImages { path, split, expected }
        };
        let part = layout.part(half)?.ok_or_else(|| empty(layout.expected(half)))?;
        let rows = request.rows(&part.labels, part.order);
        if rows.is_empty() {
            let expected = match request.limit {
                Some(0) => "a limit above 0",
                _ => "more images to cut the split from",
            };
            return Err(empty(expected.to_owned()));
        }
        let labels: Vec<usize> = rows.iter().map(|row| part.labels[*row]).collect();
        let pixels = (part.pixels)(&rows)?;
        let digest = digest(&pixels, &labels, &part.classes);
        tracing::info!(
            path = %path.display(),
            layout = layout.name(),
            split = %request.split,
            images = labels.len(),
            classes = part.classes.len(),
            "data set read"
        );
        let (split, classes, counted) = (request.split, part.classes, part.counted);
        Ok(Self { split, pixels, labels, classes, counted, digest })
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many classes.
    pub fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// Checks that the labels mean to a network of the classes `known` what they do here; where they
    /// are [counted](Self::counted), fewer will do.
    ///
    /// # Errors
    /// As [`check_classes`].
    pub fn check_classes(&self, known: &[String]) -> Result<(), ClassesError> {
        if self.counted && self.class_count() <= known.len() {
            return Ok(());
        }
        check_classes(known, &self.classes)
    }

    /// Channels, height and width of an image.
    pub fn input(&self) -> [usize; 3] {
        let [_, channels, height, width] = self.pixels.shape();
        [channels, height, width]
    }

    /// Consecutive images.
    ///
    /// # Shapes
    /// N×C×H×W.
    ///
    /// # Units
    /// Pixels in [0, 1].
    ///
    /// # Panics
    /// If a row is not below [`len`](Self::len).
    pub fn batch(&self, rows: Range<usize>) -> Array4<f32> {
        self.pixels.floats(rows)
    }

    /// Any images, as [`batch`](Self::batch).
    ///
    /// # Panics
    /// If a row is not below [`len`](Self::len).
    pub fn rows(&self, rows: &[usize]) -> Array4<f32> {
        self.pixels.floats(rows.iter().copied())
    }

    /// Mean and standard deviation of each channel over all images.
    ///
    /// # Units
    /// Pixels in [0, 1].
    pub fn mean_and_std(&self) -> (Vec<f32>, Vec<f32>) {
        self.pixels.mean_and_std()
    }
}

fn digest(pixels: &Pixels, labels: &[usize], classes: &[String]) -> Digest {
    let mut digest = DigestBuilder::default();
    digest.update(b"rift dataset 1");
    pixels.digest_into(&mut digest);
    for label in labels {
        digest.update(&(*label as u64).to_le_bytes());
    }
    for class in classes {
        digest.update(&(class.len() as u64).to_le_bytes());
        digest.update(class.as_bytes());
    }
    digest.finish()
}
