//! CIFAR-10 and CIFAR-100 in the official binary version.
//!
//! A record is one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100, of which the fine
//! one is used), then 3,072 bytes in planes R, G, B of 32×32.
//!
//! # References
//! <https://www.cs.toronto.edu/~kriz/cifar.html>

use std::fs;
use std::path::{Path, PathBuf};

use super::class_names::{self, CIFAR10, CIFAR100};
use super::error::DatasetError;
use super::part::{Half, Order, Part};
use super::picture::{self, Shape};
use super::recognise::{Layout, Listing};

/// One image.
const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };

/// The two data sets differ in their label bytes and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ten,
    Hundred,
}

impl Kind {
    fn label_bytes(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }

    /// Bytes of a published file, for messages.
    fn published(self, half: Half) -> u64 {
        match (self, half) {
            (Self::Ten, _) => 30_730_000,
            (Self::Hundred, Half::Train) => 153_700_000,
            (Self::Hundred, Half::Test) => 30_740_000,
        }
    }

    fn record(self) -> usize {
        self.label_bytes() + SHAPE.len()
    }
}

/// A folder of either data set.
#[derive(Debug)]
pub(super) struct Files {
    kind: Kind,
    train: Vec<PathBuf>,
    test: Vec<PathBuf>,
    classes: Vec<String>,
}

impl Files {
    /// CIFAR's files in a folder: by their names and, for the plain names of CIFAR-100, by a
    /// companion or a length that fits.
    pub(super) fn recognise(listing: &Listing) -> Result<Option<Self>, DatasetError> {
        let there = |names: Vec<String>| -> Vec<PathBuf> {
            names.iter().filter(|name| listing.has(name)).map(|name| listing.join(name)).collect()
        };
        let batches = there((1..=5).map(|batch| format!("data_batch_{batch}.bin")).collect());
        let test = there(vec!["test_batch.bin".to_owned()]);
        if !batches.is_empty() || !test.is_empty() {
            let classes = names(listing, "batches.meta.txt", &CIFAR10)?;
            return Ok(Some(Self { kind: Kind::Ten, train: batches, test, classes }));
        }
        let train = there(vec!["train.bin".to_owned()]);
        let test = there(vec!["test.bin".to_owned()]);
        let fits = |path: &PathBuf| {
            let length = fs::metadata(path).map_or(0, |meta| meta.len());
            length > 0 && length.is_multiple_of(Kind::Hundred.record() as u64)
        };
        let companion =
            listing.has("fine_label_names.txt") || listing.has("coarse_label_names.txt");
        let files = train.iter().chain(&test);
        if (companion && files.clone().next().is_some()) || files.clone().any(fits) {
            let classes = names(listing, "fine_label_names.txt", &CIFAR100)?;
            return Ok(Some(Self { kind: Kind::Hundred, train, test, classes }));
        }
        Ok(None)
    }
}

/// The class names in a file with one a line, or the published ones.
fn names(listing: &Listing, file: &str, known: &[&str]) -> Result<Vec<String>, DatasetError> {
    if !listing.has(file) {
        return Ok(class_names::owned(known));
    }
    let path = listing.join(file);
    let text = fs::read_to_string(&path).map_err(DatasetError::read(&path))?;
    let found: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if found.len() == known.len() {
        Ok(found)
    } else {
        let expected = format!("{} class names, one a line", known.len());
        Err(DatasetError::content(&path, expected, found.len().to_string()))
    }
}

impl Layout for Files {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ten => "CIFAR-10, binary version",
            Kind::Hundred => "CIFAR-100, binary version",
        }
    }

    fn expected(&self, half: Half) -> String {
        let names = match (self.kind, half) {
            (Kind::Ten, Half::Train) => "`data_batch_1.bin` to `data_batch_5.bin`",
            (Kind::Ten, Half::Test) => "`test_batch.bin`",
            (Kind::Hundred, Half::Train) => "`train.bin`",
            (Kind::Hundred, Half::Test) => "`test.bin`",
        };
        names.to_owned()
    }

    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError> {
        let paths = match half {
            Half::Train => &self.train,
            Half::Test => &self.test,
        };
        if paths.is_empty() {
            return Ok(None);
        }
        let (kind, record) = (self.kind, self.kind.record());
        let mut labels = Vec::new();
        let mut records = Vec::new();
        for path in paths {
            let bytes = read(path, kind, half)?;
            for (row, record) in bytes.chunks_exact(record).enumerate() {
                let label = usize::from(record[kind.label_bytes() - 1]);
                if label >= self.classes.len() {
                    let classes = self.classes.len();
                    let (path, label) = (path.clone(), label as i128);
                    return Err(DatasetError::Label { path, row, label, classes });
                }
                labels.push(label);
            }
            records.push(bytes);
        }
        let pixels = move |rows: &[usize]| {
            let all: Vec<&[u8]> = records.iter().flat_map(|file| file.chunks(record)).collect();
            picture::fill(rows.len(), SHAPE, |i, out| {
                out.copy_from_slice(&all[rows[i]][kind.label_bytes()..]);
                Ok(())
            })
        };
        let classes = self.classes.clone();
        let (order, pixels) = (Order::Stored, Box::new(pixels));
        Ok(Some(Part { labels, classes, counted: false, order, pixels }))
    }
}

/// A file's bytes, a whole number of records.
fn read(path: &Path, kind: Kind, half: Half) -> Result<Vec<u8>, DatasetError> {
    let bytes = fs::read(path).map_err(DatasetError::read(path))?;
    let record = kind.record();
    if bytes.is_empty() || bytes.len() % record != 0 {
        let published = kind.published(half);
        return Err(DatasetError::Length {
            path: path.to_owned(),
            expected: format!("a multiple of {record} bytes ({published} in the published file)"),
            found: bytes.len() as u64,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::test_files::{add, failure, folder, open};
    use super::super::{Pixels, Split};

    /// A record whose planes hold 1, 2, 3.
    fn record(labels: &[u8]) -> Vec<u8> {
        let planes = (1..=3).flat_map(|plane| std::iter::repeat_n(plane, 1024));
        labels.iter().copied().chain(planes).collect()
    }

    #[test]
    fn ten_classes_from_batches_in_order() {
        let second: Vec<u8> = [record(&[3]), record(&[9])].concat();
        let folder = folder(&[
            ("cifar-10-batches-bin/data_batch_1.bin", &record(&[7])),
            ("cifar-10-batches-bin/data_batch_2.bin", &second),
            ("cifar-10-batches-bin/test_batch.bin", &record(&[1])),
        ]);
        for path in [folder.path().to_owned(), folder.path().join("cifar-10-batches-bin")] {
            let test = open(&path, Split::Test).unwrap();
            assert_eq!((test.labels.as_slice(), test.input()), (&[1][..], [3, 32, 32]));
            assert_eq!(test.classes[1], "automobile");
            let Pixels::Bytes(bytes) = &test.pixels else { panic!() };
            assert_eq!(
                (bytes[[0, 0, 5, 5]], bytes[[0, 1, 31, 31]], bytes[[0, 2, 0, 0]]),
                (1, 2, 3)
            );
            // Three images of three classes: none can give one to validation.
            assert_eq!(open(&path, Split::Train).unwrap().labels, [7, 3, 9]);
        }
    }

    #[test]
    fn hundred_classes_take_the_fine_label() {
        let folder = folder(&[("test.bin", &record(&[19, 99]))]);
        let test = open(folder.path(), Split::Test).unwrap();
        assert_eq!((test.labels[0], test.classes[99].as_str()), (99, "worm"));
        assert!(failure(folder.path()).contains("expected `train.bin`"));
        add(folder.path(), "fine_label_names.txt", b"one\ntwo\n");
        assert!(failure(folder.path()).contains("expected 100 class names, one a line, found 2"));
    }

    #[test]
    fn damage_is_named() {
        let bytes = record(&[3]);
        let folder = folder(&[("data_batch_1.bin", &bytes[..3000])]);
        let text = failure(folder.path());
        assert!(text.contains("data_batch_1.bin` is truncated"), "{text}");
        let expected =
            "a multiple of 3073 bytes (30730000 in the published file), found 3000 bytes";
        assert!(text.contains(expected), "{text}");
        add(folder.path(), "data_batch_1.bin", b"");
        assert!(failure(folder.path()).contains("found 0 bytes"));
        add(folder.path(), "data_batch_1.bin", &[record(&[3]), record(&[10])].concat());
        let text = failure(folder.path());
        assert!(text.starts_with("label `10` in row 1 of `"), "{text}");
        assert!(text.ends_with("out of range, expected 0 to 9"), "{text}");
    }
}
