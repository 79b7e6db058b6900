//! Corrupted images as they are published: the folders CIFAR-10-C and CIFAR-100-C.
//!
//! `<corruption>.npy` holds the test images five times over, from severity 1 to severity 5, and
//! `labels.npy` the labels of all of them.
//!
//! # References
//! Hendrycks & Dietterich 2019, arXiv 1903.12261; <https://zenodo.org/records/2535967>.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::Array4;

use super::{Corruption, Severity};
use crate::artifact::Digest;
use crate::dataset::{ClassesError, Dataset, DatasetError, Request, Split};

/// A folder of published corrupted images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    folder: PathBuf,
}

/// Published images that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// They cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// They are no copies of the images that they stand for.
    #[error(
        "`{path}` does not hold corrupted copies of the data's images: expected {expected}, found {found}"
    )]
    Fit {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
}

/// One corruption's images at every severity.
pub(super) struct Copies {
    dataset: Dataset,
    /// Images at each severity.
    each: usize,
}

impl Published {
    /// The images in `folder`, which are read when they are needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads one corruption; its images must be of the size and [classes](Dataset::check_classes) of `like`,
    /// and at least as many at each severity.
    pub(super) fn read(
        &self,
        corruption: Corruption,
        like: &Dataset,
    ) -> Result<Copies, PublishedError> {
        let path = self.folder.join(format!("{}.npy", corruption.name()));
        let dataset = Dataset::open(&path, &Request::new(Split::Test))?;
        let fit = |expected, found| PublishedError::Fit { path: path.clone(), expected, found };
        let describe =
            |set: &Dataset| format!("{:?} of {} classes", set.input(), set.class_count());
        let classes = dataset.check_classes(&like.classes);
        if let Err(ClassesError::Name { class, expected, found }) = classes {
            return Err(fit(format!("class {class} to be `{expected}`"), format!("`{found}`")));
        }
        // A slice need not have every class, if it is one of these images.
        let all = dataset.class_count() == like.class_count();
        let fits = classes.is_ok() && (all || dataset.labels.starts_with(&like.labels));
        if dataset.input() != like.input() || !fits {
            return Err(fit(describe(like), describe(&dataset)));
        }
        let severities = Severity::ALL.len();
        let each = dataset.len() / severities;
        if dataset.len() % severities != 0 || each < like.len() {
            let expected = format!("{severities} times {} images or more", like.len());
            return Err(fit(expected, format!("{} images", dataset.len())));
        }
        Ok(Copies { dataset, each })
    }
}

impl Copies {
    /// Some of the images at a severity, N×C×H×W in [0, 1], and their labels.
    pub(super) fn batch(&self, severity: Severity, rows: Range<usize>) -> (Array4<f32>, &[usize]) {
        let first = (usize::from(u8::from(severity)) - 1) * self.each;
        let rows = first + rows.start..first + rows.end;
        (self.dataset.batch(rows.clone()), &self.dataset.labels[rows])
    }

    /// Of all of them.
    pub(super) fn digest(&self) -> &Digest {
        &self.dataset.digest
    }
}
