//! Archives `.npz`, and the pairs of `.npy` files that CIFAR-10-C and CIFAR-100-C are published in.
//!
//! An archive `.npz` holds `x`, either uint8 N×H×W×C (or N×H×W, grey) or float32 N×C×H×W in [0, 1],
//! and `y`, integers of any type, optionally `classes`, strings. In published sets of generated
//! images, such as those of Wang et al. 2023, they are called `image` and `label`. It is one labelled
//! part and serves any split; a folder with `train.npz` and `test.npz` has two. Where no file names the
//! classes they are numbered, from 0 to the largest label of both parts.
//!
//! In CIFAR-10-C's folder `<corruption>.npy` holds images like `x` and `labels.npy` the labels of
//! each of them: give the path of one corruption. Class names are those of CIFAR where the file is
//! called as one of its corruptions, is 32×32 in colour and has all 10 or 100 labels.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use ndarray::Array4;

use super::archive::Archive;
use super::class_names;
use super::error::DatasetError;
use super::npy::Npy;
use super::part::{Half, Order, Part};
use super::picture::{self, Shape};
use super::pixels::Pixels;
use super::recognise::{Layout, Listing};

/// The most classes that labels without names may have.
const MOST_CLASSES: usize = 1 << 16;
/// The corruptions of CIFAR-10-C.
const CORRUPTIONS: [&str; 19] = [
    "brightness",
    "contrast",
    "defocus_blur",
    "elastic_transform",
    "fog",
    "frost",
    "gaussian_blur",
    "gaussian_noise",
    "glass_blur",
    "impulse_noise",
    "jpeg_compression",
    "motion_blur",
    "pixelate",
    "saturate",
    "shot_noise",
    "snow",
    "spatter",
    "speckle_noise",
    "zoom_blur",
];
/// The labels of all corruptions.
const LABELS: &str = "labels.npy";

/// Where arrays lie.
#[derive(Debug)]
pub(super) enum Files {
    /// One archive for any split.
    Single(PathBuf),
    /// `train.npz` and `test.npz`, or one of them.
    Halves(Option<PathBuf>, Option<PathBuf>),
    /// Images and labels in a file each.
    Pair(PathBuf, PathBuf),
    /// A folder of corruptions, of which one must be named.
    Corruptions(PathBuf, Vec<String>),
}

impl Files {
    /// Archives or CIFAR-10-C in a folder.
    pub(super) fn recognise(listing: &Listing) -> Option<Self> {
        let there = |name: &str| listing.has(name).then(|| listing.join(name));
        let of = |extension: &str| -> Vec<String> {
            let has = |name: &&String| Path::new(name).extension().is_some_and(|e| e == extension);
            listing.files.iter().filter(has).cloned().collect()
        };
        let (train, test) = (there("train.npz"), there("test.npz"));
        if train.is_some() || test.is_some() {
            return Some(Self::Halves(train, test));
        }
        let mut images = of("npy");
        images.retain(|name| name != LABELS);
        match (there(LABELS), images.as_slice(), of("npz").as_slice()) {
            (Some(labels), [only], _) => Some(Self::Pair(listing.join(only), labels)),
            (Some(_), [_, _, ..], _) => Some(Self::Corruptions(listing.path.clone(), images)),
            (_, _, [only]) => Some(Self::Single(listing.join(only))),
            _ => None,
        }
    }

    /// An archive or one array, told by the first bytes.
    pub(super) fn of_file(path: &Path, magic: &[u8]) -> Option<Self> {
        if magic.starts_with(b"PK\x03\x04") {
            Some(Self::Single(path.to_owned()))
        } else if magic.starts_with(b"\x93NUMPY") {
            Some(Self::Pair(path.to_owned(), path.with_file_name(LABELS)))
        } else {
            None
        }
    }
}

impl Layout for Files {
    fn name(&self) -> &'static str {
        match self {
            Self::Single(_) | Self::Halves(..) => "NumPy archive",
            Self::Pair(..) | Self::Corruptions(..) => "NumPy arrays of images and labels",
        }
    }

    fn expected(&self, half: Half) -> String {
        match half {
            Half::Train => "`train.npz`".to_owned(),
            Half::Test => "`test.npz`".to_owned(),
        }
    }

    fn is_one_part(&self) -> bool {
        matches!(self, Self::Single(_) | Self::Pair(..))
    }

    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError> {
        let (path, other) = match (self, half) {
            (Self::Corruptions(path, names), _) => {
                let (path, found) = (path.clone(), names.clone());
                return Err(DatasetError::Corruptions { path, found });
            }
            (Self::Pair(images, labels), _) => return pair(images, labels).map(Some),
            (Self::Single(path), _) => (Some(path), None),
            (Self::Halves(train, test), Half::Train) => (train.as_ref(), test.as_deref()),
            (Self::Halves(train, test), Half::Test) => (test.as_ref(), train.as_deref()),
        };
        path.map(|path| archive(path, other)).transpose()
    }
}

/// Images and labels in a file each.
fn pair(images: &Path, labels: &Path) -> Result<Part, DatasetError> {
    if !labels.exists() {
        return Err(DatasetError::Missing(labels.to_owned()));
    }
    let x = Images::new(images, read_file(images)?)?;
    let y = labels_of(labels, &read_file(labels)?, MOST_CLASSES)?;
    let count = y.iter().max().map_or(0, |most| most + 1);
    let stem = images.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let cifar = CORRUPTIONS.contains(&stem)
        && x.shape == Shape { channels: 3, height: 32, width: 32 }
        && (0..count).all(|class| y.contains(&class));
    let names = match count {
        10 if cifar => Some(class_names::owned(&class_names::CIFAR10)),
        100 if cifar => Some(class_names::owned(&class_names::CIFAR100)),
        _ => None,
    };
    part(labels, x, Labels { values: y, names }, None)
}

/// The labels of an archive, with the names of the classes where it has them.
struct Labels {
    values: Vec<usize>,
    names: Option<Vec<String>>,
}

impl Labels {
    fn read(archive: &mut Archive) -> Result<Self, DatasetError> {
        let y = archive.either(["y", "label"])?;
        let names = match archive.array("classes")? {
            Some(classes) => {
                Some(classes.strings().filter(|names| !names.is_empty()).ok_or_else(|| {
                    let found = classes.type_name();
                    DatasetError::content(&archive.path, "`classes` of strings", found)
                })?)
            }
            None => None,
        };
        let values = labels_of(&archive.path, &y, names.as_ref().map_or(MOST_CLASSES, Vec::len))?;
        Ok(Self { values, names })
    }

    /// How many classes the labels alone tell of.
    fn count(&self) -> usize {
        self.values.iter().max().map_or(0, |most| most + 1)
    }

    /// The classes of these labels, their own or those of the other half; else, with `true`, as many
    /// as the largest label of both tells.
    fn classes(&self, other: Option<Self>) -> (Vec<String>, bool) {
        let count = self.count().max(other.as_ref().map_or(0, Self::count));
        let others = || other.and_then(|other| other.names).filter(|names| names.len() >= count);
        match self.names.clone().or_else(others) {
            Some(names) => (names, false),
            None => (class_names::numbered(count), true),
        }
    }
}

/// The arrays of an archive; the labels of the other half, where there is one, tell of its classes.
fn archive(path: &Path, other: Option<&Path>) -> Result<Part, DatasetError> {
    let mut archive = Archive::open(path)?;
    let labels = Labels::read(&mut archive)?;
    let x = Images::new(path, archive.either(["x", "image"])?)?;
    // Who names the classes needs no other half, which may be damaged.
    let other = other.filter(|_| labels.names.is_none());
    let other = other.map(|path| Labels::read(&mut Archive::open(path)?)).transpose()?;
    part(path, x, labels, other)
}

fn part(
    labels_path: &Path,
    x: Images,
    labels: Labels,
    other: Option<Labels>,
) -> Result<Part, DatasetError> {
    let (classes, counted) = labels.classes(other);
    let labels = labels.values;
    if labels.len() != x.n {
        let (path, images, labels) = (labels_path.to_owned(), x.n, labels.len());
        return Err(DatasetError::Lengths { path, images, labels });
    }
    let pixels = Box::new(move |rows: &[usize]| x.pixels(rows));
    Ok(Part { labels, classes, counted, order: Order::Stored, pixels })
}

fn read_file(path: &Path) -> Result<Npy, DatasetError> {
    let file = File::open(path).map_err(DatasetError::read(path))?;
    let length = file.metadata().map_err(DatasetError::read(path))?.len();
    Npy::read(path, BufReader::new(file), length)
}

fn labels_of(path: &Path, array: &Npy, classes: usize) -> Result<Vec<usize>, DatasetError> {
    let found = || format!("{} of shape {:?}", array.type_name(), array.shape);
    let fail = || DatasetError::content(path, "labels, integers of one dimension", found());
    let values = array.integers().filter(|_| array.shape.len() == 1).ok_or_else(fail)?;
    let label = |(row, label): (usize, i128)| {
        usize::try_from(label)
            .ok()
            .filter(|label| *label < classes)
            .ok_or_else(|| DatasetError::Label { path: path.to_owned(), row, label, classes })
    };
    values.into_iter().enumerate().map(label).collect()
}

/// An array of images of one of the types that are read.
struct Images {
    path: PathBuf,
    array: Npy,
    n: usize,
    shape: Shape,
    floats: bool,
}

impl Images {
    fn new(path: &Path, array: Npy) -> Result<Self, DatasetError> {
        let fail = || {
            let expected = "images, uint8 N×H×W×C or float32 N×C×H×W, C at most 4";
            let found = format!("{} of shape {:?}", array.type_name(), array.shape);
            DatasetError::content(path, expected, found)
        };
        let floats = array.is('f', 4);
        let (n, channels, height, width) = match array.shape.as_slice() {
            [n, h, w] if array.is('u', 1) => (*n, 1, *h, *w),
            [n, h, w, c] if array.is('u', 1) => (*n, *c, *h, *w),
            [n, c, h, w] if floats => (*n, *c, *h, *w),
            _ => return Err(fail()),
        };
        // With more channels the axes are most likely in the other order.
        if !(1..=4).contains(&channels) || height == 0 || width == 0 {
            return Err(fail());
        }
        let shape = Shape { channels, height, width };
        Ok(Self { path: path.to_owned(), array, n, shape, floats })
    }

    fn pixels(&self, rows: &[usize]) -> Result<Pixels, DatasetError> {
        let (shape, values) = (self.shape, self.shape.len());
        if !self.floats {
            return picture::fill(rows.len(), shape, |i, out| {
                let image = &self.array.bytes[rows[i] * values..][..values];
                picture::to_planes(image, shape, out);
                Ok(())
            });
        }
        let mut pixels = Vec::new();
        for &row in rows {
            for value in self.array.floats(row * values..(row + 1) * values) {
                // Also false for NaN.
                if !(0.0..=1.0).contains(&value) {
                    return Err(DatasetError::Pixel { path: self.path.clone(), row, value });
                }
                pixels.push(value);
            }
        }
        let Shape { channels, height, width } = shape;
        Array4::from_shape_vec((rows.len(), channels, height, width), pixels)
            .map(Pixels::Floats)
            .map_err(DatasetError::Arrangement)
    }
}
