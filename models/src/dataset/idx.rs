//! IDX files, the format of MNIST and its family.
//!
//! Files are `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `t10k-…` (or `test-…`), each
//! also with `.gz` and with a dot before `idx`. A header of four bytes (0, 0, 8 for bytes, the
//! number of dimensions) and a big-endian `u32` a dimension is followed by the values. Images of
//! three dimensions are N×H×W; of four they are N×H×W×C where the last extent is 1 or 3, else
//! N×C×H×W.
//!
//! The files hold no class names. Fashion-MNIST is told by the SHA-256 of its label files; others
//! have numbers for names, from 0 to the largest label of both halves.
//!
//! # References
//! <http://yann.lecun.com/exdb/mnist/>

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::class_names;
use super::error::DatasetError;
use super::part::{Half, Order, Part};
use super::picture::{self, Shape};
use super::recognise::{Layout, Listing};

/// The label files of Fashion-MNIST, unpacked.
const FASHION_LABELS: [&str; 2] = [
    "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
];
/// Deflate packs at most so many bytes into one.
pub(super) const MOST_DEFLATED: u64 = 1032;

/// A file of images and the file of their labels, where it is.
#[derive(Clone, Debug)]
struct Pair {
    images: PathBuf,
    labels: Option<PathBuf>,
}

/// The files of a data set, by half.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    train: Option<Pair>,
    test: Option<Pair>,
}

impl Files {
    /// IDX files by their names.
    pub(super) fn recognise(listing: &Listing) -> Option<Self> {
        let there = |prefix: &str, what: &str, dimensions: &[&str]| {
            let names = dimensions.iter().flat_map(|dimension| {
                ["-", "."].into_iter().flat_map(move |dot| {
                    let name = format!("{prefix}-{what}{dot}{dimension}-ubyte");
                    [name.clone(), name + ".gz"]
                })
            });
            names.into_iter().find(|name| listing.has(name)).map(|name| listing.join(&name))
        };
        let pair = |prefix: &str| {
            let images = there(prefix, "images", &["idx3", "idx4"])?;
            Some(Pair { images, labels: there(prefix, "labels", &["idx1"]) })
        };
        let (train, test) = (pair("train"), pair("t10k").or_else(|| pair("test")));
        (train.is_some() || test.is_some()).then(|| Self {
            folder: listing.path.clone(),
            train,
            test,
        })
    }

    fn half(&self, half: Half) -> Option<&Pair> {
        match half {
            Half::Train => self.train.as_ref(),
            Half::Test => self.test.as_ref(),
        }
    }
}

impl Layout for Files {
    fn name(&self) -> &'static str {
        "IDX"
    }

    fn expected(&self, half: Half) -> String {
        let prefix = if half == Half::Train { "train" } else { "t10k" };
        format!("`{prefix}-images-idx3-ubyte` and `{prefix}-labels-idx1-ubyte`, or `.gz`")
    }

    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError> {
        let Some(pair) = self.half(half) else { return Ok(None) };
        let labels_of = |pair: &Pair, half| {
            let path = pair.labels.as_ref().ok_or_else(|| {
                DatasetError::content(&self.folder, self.expected(half), "no labels")
            })?;
            Array::read(path, &[1])
        };
        let labels = labels_of(pair, half)?;
        let other = if half == Half::Train { Half::Test } else { Half::Train };
        let others = match self.half(other) {
            Some(pair) if pair.labels.is_some() => labels_of(pair, other)?.values,
            _ => Vec::new(),
        };
        let (classes, counted) = if labels.is_fashion() {
            (class_names::owned(&class_names::FASHION_MNIST), false)
        } else {
            let largest = labels.values.iter().chain(&others).max();
            let count = largest.map_or(0, |label| usize::from(*label) + 1);
            (class_names::numbered(count), true)
        };
        let images = Array::read(&pair.images, &[3, 4])?;
        let (n, shape, channels_last) = arrangement(&images.extents);
        if labels.values.len() != n {
            let path = pair.labels.clone().unwrap_or_default();
            return Err(DatasetError::Lengths { path, images: n, labels: labels.values.len() });
        }
        let pixels = move |rows: &[usize]| {
            picture::fill(rows.len(), shape, |i, out| {
                let image = &images.values[rows[i] * shape.len()..][..shape.len()];
                if channels_last {
                    picture::to_planes(image, shape, out);
                } else {
                    out.copy_from_slice(image);
                }
                Ok(())
            })
        };
        let labels = labels.values.iter().map(|label| usize::from(*label)).collect();
        let (order, pixels) = (Order::Stored, Box::new(pixels));
        Ok(Some(Part { labels, classes, counted, order, pixels }))
    }
}

/// How many images of which shape, and whether the channels are last.
fn arrangement(extents: &[usize]) -> (usize, Shape, bool) {
    match extents {
        [n, height, width, channels @ (1 | 3)] => {
            (*n, Shape { channels: *channels, height: *height, width: *width }, true)
        }
        [n, channels, height, width] => {
            (*n, Shape { channels: *channels, height: *height, width: *width }, false)
        }
        [n, height, width] => (*n, Shape { channels: 1, height: *height, width: *width }, false),
        // `Array::read` lets nothing else pass.
        _ => (0, Shape { channels: 1, height: 0, width: 0 }, false),
    }
}

/// The contents of an IDX file of bytes.
struct Array {
    header: Vec<u8>,
    extents: Vec<usize>,
    values: Vec<u8>,
}

impl Array {
    /// Reads a file, packed or not, whose number of dimensions is one of `dimensions`.
    fn read(path: &Path, dimensions: &[u8]) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(DatasetError::read(path))?;
        let length = file.metadata().map_err(DatasetError::read(path))?.len();
        let mut file = BufReader::new(file);
        let mut magic = Vec::new();
        file.by_ref().take(2).read_to_end(&mut magic).map_err(DatasetError::read(path))?;
        file.rewind().map_err(DatasetError::read(path))?;
        if magic == [0x1f, 0x8b] {
            let most = length.saturating_mul(MOST_DEFLATED);
            Self::parse(path, MultiGzDecoder::new(file), most, dimensions)
        } else {
            Self::parse(path, file, length, dimensions)
        }
    }

    /// Reads what `reader` gives, which is at most `most` bytes.
    fn parse(
        path: &Path,
        mut reader: impl Read,
        most: u64,
        dimensions: &[u8],
    ) -> Result<Self, DatasetError> {
        let mut header = take(&mut reader, 4).map_err(DatasetError::read(path))?;
        match header.as_slice() {
            [0, 0, 8, n] if dimensions.contains(n) => {}
            _ => {
                let expected = format!("an IDX header `0 0 8` and {dimensions:?} dimensions");
                return Err(DatasetError::content(path, expected, format!("{header:?}")));
            }
        }
        let extents = take(&mut reader, 4 * u64::from(header[3]));
        header.extend(extents.map_err(DatasetError::read(path))?);
        let extents: Vec<usize> = header[4..]
            .chunks_exact(4)
            .map(|e| u32::from_be_bytes([e[0], e[1], e[2], e[3]]) as usize)
            .collect();
        let fail =
            |expected, found| DatasetError::Length { path: path.to_owned(), expected, found };
        let total = extents.iter().try_fold(1_u64, |n, extent| n.checked_mul(*extent as u64));
        let total = total.and_then(|n| n.checked_add(header.len() as u64));
        let Some(total) = total.filter(|total| *total <= most) else {
            let shape: Vec<_> = extents.iter().map(ToString::to_string).collect();
            return Err(fail(format!("{} values", shape.join("×")), most));
        };
        let wanted = total - header.len() as u64;
        // One more than wanted tells a file that is too long.
        let values = take(&mut reader, wanted + 1).map_err(DatasetError::read(path))?;
        if values.len() as u64 != wanted || extents.len() != usize::from(header[3]) {
            let found = header.len() as u64 + values.len() as u64;
            let expected = if values.len() as u64 > wanted { "exactly" } else { "" };
            return Err(fail(format!("{expected} {total} bytes").trim().to_owned(), found));
        }
        Ok(Self { header, extents, values })
    }

    /// Whether these are the labels of Fashion-MNIST.
    fn is_fashion(&self) -> bool {
        let mut digest = crate::artifact::DigestBuilder::default();
        digest.update(&self.header);
        digest.update(&self.values);
        FASHION_LABELS.contains(&digest.finish().as_str())
    }
}

/// Reads up to `n` bytes, growing as they come.
fn take(reader: &mut impl Read, n: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(n).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::Split;
    use super::super::test_files::{add, failure, folder, open};

    fn idx(extents: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, extents.len() as u8];
        bytes.extend(extents.iter().flat_map(|extent| extent.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    const IMAGES: &str = "t10k-images-idx3-ubyte";
    const LABELS: &str = "t10k-labels-idx1-ubyte";

    #[test]
    fn plain_and_packed_are_the_same() {
        let images = idx(&[2, 2, 3], &[0, 51, 102, 153, 204, 255, 1, 2, 3, 4, 5, 6]);
        let labels = idx(&[2], &[4, 1]);
        let plain = folder(&[(IMAGES, &images), (LABELS, &labels)]);
        let gz = folder(&[
            ("raw/t10k-images.idx3-ubyte.gz", &packed(&images)),
            ("raw/t10k-labels.idx1-ubyte.gz", &packed(&labels)),
        ]);
        let plain = open(plain.path(), Split::Test).unwrap();
        let gz = open(gz.path(), Split::Test).unwrap();
        assert_eq!((plain.input(), plain.labels.as_slice()), ([1, 2, 3], &[4, 1][..]));
        assert_eq!(plain.classes, ["0", "1", "2", "3", "4"]);
        assert_eq!(plain.batch(0..1).into_raw_vec_and_offset().0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(plain.digest, gz.digest);
    }

    #[test]
    fn four_dimensions_have_channels_last_or_first() {
        let values: Vec<u8> = (0..24).collect();
        for (extents, red) in
            [([1, 2, 4, 3], [0, 3, 6, 9, 12, 15, 18, 21]), ([1, 3, 2, 4], [0, 1, 2, 3, 4, 5, 6, 7])]
        {
            let folder = folder(&[
                (
                    "train-images-idx4-ubyte",
                    &idx(
                        &[2, extents[1], extents[2], extents[3]],
                        &[values.clone(), values.clone()].concat(),
                    ),
                ),
                ("train-labels-idx1-ubyte", &idx(&[2], &[0, 0])),
            ]);
            let train = open(folder.path(), Split::Train).unwrap();
            assert_eq!((train.len(), train.input()), (1, [3, 2, 4]));
            let first: Vec<u8> =
                train.batch(0..1).iter().take(8).map(|v| (v * 255.0).round() as u8).collect();
            assert_eq!(first, red);
        }
    }

    #[test]
    fn labels_of_the_other_half_count_as_classes() {
        let folder = folder(&[
            (IMAGES, &idx(&[1, 1, 1], &[9])),
            (LABELS, &idx(&[1], &[1])),
            ("train-labels-idx1-ubyte", &idx(&[1], &[6])),
            ("train-images-idx3-ubyte", &idx(&[1, 1, 1], &[9])),
        ]);
        assert_eq!(open(folder.path(), Split::Test).unwrap().class_count(), 7);
    }

    #[test]
    fn damage_is_named() {
        let images = idx(&[2, 1, 1], &[1, 2]);
        let folder = folder(&[
            ("train-images-idx3-ubyte", &images[..17]),
            ("train-labels-idx1-ubyte", &idx(&[2], &[0, 1])),
        ]);
        let add = |bytes: &[u8]| {
            add(folder.path(), "train-images-idx3-ubyte", bytes);
            failure(folder.path())
        };
        assert!(
            add(&images[..17]).contains("truncated or damaged: expected 2×1×1 values, found 17")
        );
        assert!(add(&[images.as_slice(), b"?"].concat()).contains("expected exactly 18 bytes"));
        let huge = [0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        assert!(add(&huge).contains("expected 4294967295×4294967295×4294967295 values, found 16"));
        assert!(add(&packed(&huge)).contains("expected 4294967295×4294967295×4294967295 values"));
        let text = add(&packed(&idx(&[2, 10, 10], &[1, 2])));
        assert!(text.contains("expected 216 bytes, found 18 bytes"), "{text}");
        assert!(add(&packed(&images)[..20]).contains("cannot read `"));
        assert!(add(b"\0\0\x0d\x03").contains("expected an IDX header"));
        assert!(add(&idx(&[3, 1, 1], &[1, 2, 3])).contains("has 2 labels, expected 3, as many"));
        std::fs::remove_file(folder.path().join("train-labels-idx1-ubyte")).unwrap();
        assert!(add(&images).contains("`train-labels-idx1-ubyte`, or `.gz`, found no labels"));
    }

    #[test]
    fn fashion_is_told_by_its_labels() {
        let path = std::path::Path::new("/usr/share/datasets/fashion-mnist");
        if !path.exists() {
            eprintln!("skipped: the package dataset-fashion-mnist is not installed");
            return;
        }
        let test = open(path, Split::Test).unwrap();
        assert_eq!((test.len(), test.input()), (10_000, [1, 28, 28]));
        assert_eq!((test.labels[0], test.classes[9].as_str()), (9, "Ankle boot"));
    }
}
