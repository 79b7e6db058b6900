//! What can be wrong with a data set.

use std::io;
use std::path::{Path, PathBuf};

/// A data set that cannot be read, with the file, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Nothing is at the path.
    #[error("no such file or folder `{0}`")]
    Missing(PathBuf),
    /// The folder holds nothing.
    #[error("the folder `{0}` is empty")]
    EmptyFolder(PathBuf),
    /// The content is of no layout that is known.
    #[error(
        "`{path}` is not a data set that can be recognised: found {found}; {}",
        super::recognise::KNOWN
    )]
    Unrecognised {
        /// The path.
        path: PathBuf,
        /// What is there, in words.
        found: String,
    },
    /// More than one data set lies below the folder.
    #[error("`{path}` holds several data sets, name one of them: {}", quoted(found))]
    Ambiguous {
        /// The folder.
        path: PathBuf,
        /// The data sets, relative to it.
        found: Vec<String>,
    },
    /// A folder of corrupted copies was given where one of them is needed.
    #[error("`{path}` holds one `.npy` a corruption, name one of them: {}", quoted(found))]
    Corruptions {
        /// The folder.
        path: PathBuf,
        /// The files.
        found: Vec<String>,
    },
    /// The text names no split.
    #[error("unknown split `{0}`, expected `train`, `validation` or `test`")]
    UnknownSplit(String),
    /// The data set has no images for the split.
    #[error("`{path}` has no images for the split `{split}`, expected {expected}")]
    NoImages {
        /// The data set.
        path: PathBuf,
        /// The split asked for.
        split: super::Split,
        /// Where they would be.
        expected: String,
    },
    /// The test images would be those that weights and settings are chosen by.
    #[error(
        "`{path}` ({layout}) is one labelled part, from which training and validation images are cut: \
         expected parts `train` and `test`, so that nothing is chosen by the test images"
    )]
    OnePart {
        /// The data set.
        path: PathBuf,
        /// What it is.
        layout: &'static str,
    },
    /// A file or folder cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is shorter or longer than its layout says.
    #[error("`{path}` is truncated or damaged: expected {expected}, found {found} bytes")]
    Length {
        /// The file.
        path: PathBuf,
        /// How many bytes it should have, in words.
        expected: String,
        /// How many it has.
        found: u64,
    },
    /// The file's contents contradict its layout.
    #[error("`{path}` is damaged or not supported: expected {expected}, found {found}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A label that is no class.
    #[error(
        "label `{label}` in row {row} of `{path}` is out of range, expected 0 to {}",
        classes.saturating_sub(1)
    )]
    Label {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The label.
        label: i128,
        /// How many classes there are.
        classes: usize,
    },
    /// An image that does not decode.
    #[error("cannot decode the image {place}")]
    Image {
        /// The file, or the row of one.
        place: Place,
        /// Why not.
        #[source]
        source: image::ImageError,
    },
    /// An image of another size than the others.
    #[error("the image {place} is {found}, expected {expected} as the others")]
    Size {
        /// The file, or the row of one.
        place: Place,
        /// Channels, height and width of the others.
        expected: String,
        /// Those of this one.
        found: String,
    },
    /// A pixel outside of [0, 1].
    #[error("pixel value `{value}` in row {row} of `{path}`, expected values from 0 to 1")]
    Pixel {
        /// The file.
        path: PathBuf,
        /// The row, from 0.
        row: usize,
        /// The value.
        value: f32,
    },
    /// As many labels as images are needed.
    #[error("`{path}` has {labels} labels, expected {images}, as many as images")]
    Lengths {
        /// The file with the labels.
        path: PathBuf,
        /// How many images.
        images: usize,
        /// How many labels.
        labels: usize,
    },
    /// A Parquet file that cannot be read.
    #[error("cannot read the Parquet file `{path}`")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ::parquet::errors::ParquetError,
    },
    /// An archive that cannot be read.
    #[error("cannot read the archive `{path}`")]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: zip::result::ZipError,
    },
    /// More images than memory holds.
    #[error("{images} images of {shape} do not fit into memory, `--limit` loads fewer")]
    TooLarge {
        /// How many images.
        images: usize,
        /// Channels, height and width.
        shape: String,
    },
    /// Pixels that make no array of images.
    #[error("the pixels do not make an array of images")]
    Arrangement(#[source] ndarray::ShapeError),
    /// A synthetic data set that cannot be made.
    #[error("invalid synthetic data set `{specification}`: {reason}")]
    Synthetic {
        /// As given.
        specification: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl DatasetError {
    /// Names the file that could not be read.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    /// Names the file whose contents are not as they should be.
    pub(super) fn content(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Content { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }
}

/// Where an image lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file of its own.
    File(PathBuf),
    /// In a row of a file of many.
    Row(PathBuf, usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Row(path, row) => write!(f, "in row {row} of `{}`", path.display()),
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
