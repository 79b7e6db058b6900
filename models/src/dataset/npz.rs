//! Archives `.npz`, and the pairs of `.npy` files that CIFAR-10-C and CIFAR-100-C are published in.
//!
//! An archive `.npz` holds `x`, either uint8 N×H×W×C (or N×H×W, grey) or float32 N×C×H×W in [0, 1],
//! and `y`, integers of any type, optionally `classes`, strings. In published sets of generated
//! images, such as those of Wang et al. 2023, they are called `image` and `label`. It is one labelled
//! part and serves any split; a folder with `train.npz` and `test.npz` has two.
//!
//! In CIFAR-10-C's folder `<corruption>.npy` holds images like `x` and `labels.npy` the labels of
//! each of them: give the path of one corruption. Class names are those of CIFAR where the file is
//! called as one of its corruptions, is 32×32 in colour and has all 10 or 100 labels.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use ndarray::Array4;
use zip::ZipArchive;

use super::class_names;
use super::error::DatasetError;
use super::idx::MOST_DEFLATED;
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
        let path = match (self, half) {
            (Self::Corruptions(path, names), _) => {
                let (path, found) = (path.clone(), names.clone());
                return Err(DatasetError::Corruptions { path, found });
            }
            (Self::Pair(images, labels), _) => return pair(images, labels).map(Some),
            (Self::Single(path), _) => Some(path),
            (Self::Halves(train, _), Half::Train) => train.as_ref(),
            (Self::Halves(_, test), Half::Test) => test.as_ref(),
        };
        path.map(|path| archive(path)).transpose()
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
    let classes = match count {
        10 if cifar => class_names::owned(&class_names::CIFAR10),
        100 if cifar => class_names::owned(&class_names::CIFAR100),
        _ => class_names::numbered(count),
    };
    part(labels, x, y, classes)
}

/// The arrays of an archive.
fn archive(path: &Path) -> Result<Part, DatasetError> {
    let file = File::open(path).map_err(DatasetError::read(path))?;
    let length = file.metadata().map_err(DatasetError::read(path))?.len();
    let zip = |source| DatasetError::Archive { path: path.to_owned(), source };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(zip)?;
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let mut array = |name: &str| -> Result<Option<Npy>, DatasetError> {
        let name = format!("{name}.npy");
        if !names.contains(&name) {
            return Ok(None);
        }
        let entry = archive.by_name(&name).map_err(zip)?;
        let packed = entry.compressed_size().min(length);
        let most = entry.size().min(packed.saturating_mul(MOST_DEFLATED));
        Npy::read(path, entry, most).map(Some)
    };
    let missing = || {
        let mut found: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        found.sort();
        let expected = "arrays `x` and `y`, or `image` and `label`";
        DatasetError::content(path, expected, found.join(", "))
    };
    let y = either(&mut array, ["y", "label"])?.ok_or_else(missing)?;
    let named = match array("classes")? {
        Some(classes) => {
            Some(classes.strings().filter(|names| !names.is_empty()).ok_or_else(|| {
                DatasetError::content(path, "`classes` of strings", classes.type_name())
            })?)
        }
        None => None,
    };
    let y = labels_of(path, &y, named.as_ref().map_or(MOST_CLASSES, Vec::len))?;
    let x = either(&mut array, ["x", "image"])?.ok_or_else(missing)?;
    let x = Images::new(path, x)?;
    let numbered = || class_names::numbered(y.iter().max().map_or(0, |most| most + 1));
    let classes = named.unwrap_or_else(numbered);
    part(path, x, y, classes)
}

/// The array of the first of these names that is there.
fn either(
    array: &mut impl FnMut(&str) -> Result<Option<Npy>, DatasetError>,
    [name, other]: [&str; 2],
) -> Result<Option<Npy>, DatasetError> {
    Ok(match array(name)? {
        Some(found) => Some(found),
        None => array(other)?,
    })
}

fn part(
    labels_path: &Path,
    x: Images,
    labels: Vec<usize>,
    classes: Vec<String>,
) -> Result<Part, DatasetError> {
    if labels.len() != x.n {
        let (path, images, labels) = (labels_path.to_owned(), x.n, labels.len());
        return Err(DatasetError::Lengths { path, images, labels });
    }
    let pixels = move |rows: &[usize]| x.pixels(rows);
    Ok(Part { labels, classes, order: Order::Stored, pixels: Box::new(pixels) })
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use zip::write::SimpleFileOptions;

    use super::super::test_files::{add, failure, folder, npy, open};
    use super::super::{Pixels, Split};

    /// Writes an archive of arrays.
    fn npz(folder: &Path, name: &str, arrays: &[(&str, Vec<u8>)]) {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            writer.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        add(folder, name, &writer.finish().unwrap().into_inner());
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn bytes_with_channels_last() {
        let folder = folder(&[]);
        let values: Vec<u8> = (0..12).collect();
        let classes: Vec<u8> = "catdog".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        let arrays = [
            ("x", npy("|u1", "(2, 1, 2, 3)", &values)),
            ("y", npy(">i2", "(2,)", &[0, 1, 0, 0])),
            ("classes", npy("<U3", "(2,)", &classes)),
        ];
        npz(folder.path(), "images.npz", &arrays);
        for path in [folder.path().to_owned(), folder.path().join("images.npz")] {
            let test = open(&path, Split::Test).unwrap();
            assert_eq!((test.labels.as_slice(), test.input()), (&[1, 0][..], [3, 1, 2]));
            assert_eq!(test.classes, ["cat", "dog"]);
            let Pixels::Bytes(bytes) = &test.pixels else { panic!() };
            let stored: Vec<u8> = bytes.iter().copied().collect();
            assert_eq!(stored, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        }
        // As published sets of generated images name them.
        let [(_, x), (_, y), _] = arrays.clone();
        npz(folder.path(), "generated.npz", &[("image", x), ("label", y)]);
        let generated = open(&folder.path().join("generated.npz"), Split::Test).unwrap();
        assert_eq!((generated.labels.as_slice(), generated.input()), (&[1, 0][..], [3, 1, 2]));
        npz(folder.path(), "train.npz", &arrays);
        assert!(open(folder.path(), Split::Test).unwrap_err().to_string().contains("`test.npz`"));
    }

    #[test]
    fn floats_with_channels_first() {
        let folder = folder(&[]);
        let write = |values: &[f32]| {
            let arrays = [
                ("x", npy("<f4", "(2, 1, 1, 2)", &floats(values))),
                ("y", npy("|u1", "(2,)", &[0, 2])),
            ];
            npz(folder.path(), "a.npz", &arrays);
            open(folder.path(), Split::Test)
        };
        let test = write(&[0.0, 0.25, 0.5, 1.0]).unwrap();
        assert_eq!((test.input(), test.classes.as_slice().len()), ([1, 1, 2], 3));
        assert_eq!(test.batch(0..2).into_raw_vec_and_offset().0, [0.0, 0.25, 0.5, 1.0]);
        let (mean, std) = test.mean_and_std();
        assert!((mean[0] - 0.4375).abs() < 1e-6 && (std[0] - 0.369_755).abs() < 1e-5);
        for (bad, shown) in [(1.5, "1.5"), (-0.1, "-0.1"), (f32::NAN, "NaN")] {
            let text = write(&[0.0, 0.0, 0.5, bad]).unwrap_err().to_string();
            assert!(text.contains(&format!("pixel value `{shown}` in row 1 of `")), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = folder(&[]);
        let fails = |x: Vec<u8>, y: Vec<u8>, expected: &str| {
            npz(folder.path(), "a.npz", &[("x", x), ("y", y)]);
            let text = failure(folder.path());
            assert!(text.contains(expected), "{text}");
        };
        let x = || npy("|u1", "(2, 1, 1, 1)", &[1, 2]);
        let y = |bytes: &[u8]| npy("|i1", &format!("({},)", bytes.len()), bytes);
        fails(x(), y(&[0, 1, 1]), "has 3 labels, expected 2, as many as images");
        fails(x(), y(&[0, 255]), "label `-1` in row 1 of `");
        fails(x(), npy("<i8", "(2,)", &[0; 16])[..70].to_vec(), "truncated or damaged");
        fails(x(), npy("<f4", "(2,)", &[0; 8]), "expected labels, integers of one dimension");
        fails(npy("<f8", "(2, 1, 1, 1)", &[0; 16]), y(&[0, 0]), "found f8 of shape [2, 1, 1, 1]");
        // Bytes with the channels first.
        fails(npy("|u1", "(2, 3, 8, 8)", &[0; 384]), y(&[0, 0]), "N×H×W×C");
        let huge = "(18446744073709551615, 18446744073709551615, 1, 1)";
        fails(
            npy("|u1", huge, &[0]),
            y(&[0, 0]),
            "expected an array of shape [18446744073709551615",
        );
        fails(
            npy("|u1", "(4000000000, 32, 32, 3)", &[0]),
            y(&[0, 0]),
            "expected an array of shape",
        );
        fails(npy("|O", "(2,)", &[0]), y(&[0, 0]), "a NumPy header with a plain type");
        npz(folder.path(), "a.npz", &[("images", x())]);
        let expected = "expected arrays `x` and `y`, or `image` and `label`, found `images.npy`";
        assert!(failure(folder.path()).contains(expected));
        add(folder.path(), "a.npz", b"PK\x03\x04 and nothing else");
        assert!(failure(folder.path()).contains("cannot read the archive `"));
    }

    #[test]
    fn corruptions_are_chosen_by_name() {
        let values = vec![7; 10 * 3072];
        let fog = npy("|u1", "(10, 32, 32, 3)", &values);
        let labels: Vec<u8> = (0..10).collect();
        let folder = folder(&[
            ("CIFAR-10-C/fog.npy", &fog),
            ("CIFAR-10-C/snow.npy", &fog),
            ("CIFAR-10-C/labels.npy", &npy("|u1", "(10,)", &labels)),
        ]);
        let text = failure(folder.path());
        assert!(text.ends_with("one `.npy` a corruption, name one of them: `fog.npy`, `snow.npy`"));
        let fog = open(&folder.path().join("CIFAR-10-C/fog.npy"), Split::Test).unwrap();
        assert_eq!((fog.len(), fog.input(), fog.classes[9].as_str()), (10, [3, 32, 32], "truck"));
        std::fs::remove_file(folder.path().join("CIFAR-10-C/labels.npy")).unwrap();
        let text = failure(&folder.path().join("CIFAR-10-C/fog.npy"));
        assert!(
            text.starts_with("no such file or folder") && text.contains("labels.npy"),
            "{text}"
        );
    }
}
