//! What every layout hands over: labels first, then the pixels of the rows that are wanted.

use super::error::DatasetError;
use super::pixels::Pixels;
use super::split::Split;

/// The two labelled halves that data sets are published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// Training images, from which the validation images are cut.
    Train,
    /// Test images.
    Test,
}

impl From<Split> for Half {
    fn from(split: Split) -> Self {
        match split {
            Split::Train | Split::Validation => Self::Train,
            Split::Test => Self::Test,
        }
    }
}

/// In which order the rows of a part are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As stored: the publisher shuffled them.
    Stored,
    /// The first of each class, the second of each class, and so on: they are stored by class.
    Interleaved,
}

/// Reads the pixels of the given rows, in the order given.
pub(super) type ReadPixels = Box<dyn FnOnce(&[usize]) -> Result<Pixels, DatasetError>>;

/// One labelled half of a data set, its pixels not yet read.
pub(super) struct Part {
    /// A label a row, each below the number of classes.
    pub(super) labels: Vec<usize>,
    /// A name a class.
    pub(super) classes: Vec<String>,
    /// Whether they are numbered, as many as the largest label tells.
    pub(super) counted: bool,
    /// The order of service.
    pub(super) order: Order,
    /// Reads pixels; decoding is the dear part, so only what is needed is decoded.
    pub(super) pixels: ReadPixels,
}
