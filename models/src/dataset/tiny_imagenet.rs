//! Tiny-ImageNet's folders.
//!
//! `wnids.txt` lists the classes by their identifiers, `words.txt` names them. Training
//! images are in `train/<wnid>/images`; the validation images, which serve as the test half because
//! the test images have no labels, are in one folder with their labels in `val_annotations.txt`.
//! (Where somebody has sorted them into class folders, these are read instead.)
//!
//! Labels follow the sorted identifiers, as class folders do; some images are grey and become
//! coloured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{DatasetError, Place};
use super::image_folder::{header, images_below};
use super::part::{Half, Order, Part};
use super::picture;
use super::recognise::{Layout, Listing};

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// Image files with their labels.
#[derive(Default)]
struct Files {
    paths: Vec<PathBuf>,
    labels: Vec<usize>,
}

impl Folder {
    /// Tiny-ImageNet by its list of classes.
    pub(super) fn recognise(listing: &Listing) -> Option<Self> {
        let images = ["train", "val"].iter().any(|name| listing.folders.contains(*name));
        (listing.has("wnids.txt") && images).then(|| Self { path: listing.path.clone() })
    }

    /// The sorted identifiers.
    fn identifiers(&self) -> Result<Vec<String>, DatasetError> {
        let path = self.path.join("wnids.txt");
        let text = fs::read_to_string(&path).map_err(DatasetError::read(&path))?;
        let mut identifiers: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        identifiers.sort();
        identifiers.dedup();
        // They become names of folders.
        let odd = identifiers.iter().find(|id| !id.chars().all(|c| c.is_ascii_alphanumeric()));
        match odd {
            Some(odd) => {
                Err(DatasetError::content(&path, "identifiers of classes", format!("`{odd}`")))
            }
            None if identifiers.is_empty() => {
                Err(DatasetError::content(&path, "identifiers of classes", "none"))
            }
            None => Ok(identifiers),
        }
    }

    /// The names in `words.txt`, or the identifiers where there are none.
    fn names(&self, identifiers: &[String]) -> Result<Vec<String>, DatasetError> {
        let path = self.path.join("words.txt");
        if !path.is_file() {
            return Ok(identifiers.to_vec());
        }
        let text = fs::read_to_string(&path).map_err(DatasetError::read(&path))?;
        let words: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(identifier, words)| (identifier, words.trim()))
            .collect();
        let name =
            |id: &String| words.get(id.as_str()).map_or_else(|| id.clone(), |w| (*w).to_owned());
        Ok(identifiers.iter().map(name).collect())
    }

    /// Images in class folders.
    fn by_class(&self, half: &str, identifiers: &[String]) -> Result<Files, DatasetError> {
        let mut files = Files::default();
        for (label, identifier) in identifiers.iter().enumerate() {
            let folder = self.path.join(half).join(identifier);
            if !folder.is_dir() {
                return Err(DatasetError::Missing(folder));
            }
            let images = images_below(&folder, 2)?;
            files.labels.extend(std::iter::repeat_n(label, images.len()));
            files.paths.extend(images);
        }
        Ok(files)
    }

    /// Images in one folder with a list of their classes: name, identifier and the corners of a
    /// box, separated by tabulators.
    fn annotated(&self, list: &Path, identifiers: &[String]) -> Result<Files, DatasetError> {
        let text = fs::read_to_string(list).map_err(DatasetError::read(list))?;
        let mut files = Files::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let mut fields = line.split('\t').map(str::trim);
            let (name, identifier) = (fields.next(), fields.next());
            let label =
                identifier.and_then(|id| identifiers.binary_search_by(|i| i.as_str().cmp(id)).ok());
            let plain = name.filter(|name| !name.contains(['/', '\\']));
            let (Some(name), Some(label)) = (plain, label) else {
                let expected =
                    format!("a file's name and a class of `wnids.txt` in line {}", number + 1);
                return Err(DatasetError::content(list, expected, format!("`{line}`")));
            };
            files.paths.push(self.path.join("val/images").join(name));
            files.labels.push(label);
        }
        Ok(files)
    }
}

impl Layout for Folder {
    fn name(&self) -> &'static str {
        "Tiny-ImageNet"
    }

    fn expected(&self, half: Half) -> String {
        match half {
            Half::Train => "images in `train/<wnid>/images`".to_owned(),
            Half::Test => "images in `val/images` and `val/val_annotations.txt`".to_owned(),
        }
    }

    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError> {
        let identifiers = self.identifiers()?;
        let list = self.path.join("val/val_annotations.txt");
        let folder = if half == Half::Train { "train" } else { "val" };
        if !self.path.join(folder).is_dir() {
            return Ok(None);
        }
        let files = if half == Half::Test && list.is_file() {
            self.annotated(&list, &identifiers)?
        } else {
            self.by_class(folder, &identifiers)?
        };
        let Some(first) = files.paths.first() else { return Ok(None) };
        let mut shape = header(first)?;
        shape.channels = 3;
        let Files { paths, labels } = files;
        let pixels = move |rows: &[usize]| {
            picture::fill(rows.len(), shape, |i, out| {
                let path = &paths[rows[i]];
                let bytes = fs::read(path).map_err(DatasetError::read(path))?;
                picture::decode_into(&bytes, shape, || Place::File(path.clone()), out)
            })
        };
        let classes = self.names(&identifiers)?;
        let (order, pixels) = (Order::Interleaved, Box::new(pixels));
        Ok(Some(Part { labels, classes, counted: false, order, pixels }))
    }
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::super::Split;
    use super::super::test_files::{add, chain, folder, grey, open, png};

    fn small() -> tempfile::TempDir {
        folder(&[
            ("wnids.txt", b"n2\nn1\n"),
            ("words.txt", b"n0\tother\nn1\tgoldfish, Carassius auratus\n"),
            ("train/n1/images/n1_0.JPEG", &grey(4, 4, 51, ImageFormat::Jpeg)),
            ("train/n1/n1_boxes.txt", b"n1_0.JPEG\t0\t0\t3\t3\n"),
            ("train/n2/images/n2_0.JPEG", &png(4, 4, [255, 0, 0])),
            ("val/images/val_0.JPEG", &png(4, 4, [255, 0, 0])),
            ("val/images/val_1.JPEG", &png(4, 4, [0, 0, 255])),
            (
                "val/val_annotations.txt",
                b"val_1.JPEG\tn1\t0\t0\t3\t3\nval_0.JPEG\tn2\t0\t0\t3\t3\n",
            ),
        ])
    }

    #[test]
    fn labels_come_from_the_annotations() {
        let folder = small();
        let test = open(folder.path(), Split::Test).unwrap();
        assert_eq!(test.classes, ["goldfish, Carassius auratus", "n2"]);
        assert_eq!((test.labels.as_slice(), test.input()), (&[0, 1][..], [3, 4, 4]));
        assert_eq!(test.batch(0..1)[[0, 2, 0, 0]], 1.0);
        let train = open(folder.path(), Split::Train).unwrap();
        assert_eq!((train.labels.as_slice(), train.input()), (&[0, 1][..], [3, 4, 4]));
        assert_eq!(train.batch(0..1)[[0, 2, 3, 3]], 0.2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = small();
        let failure = |split| chain(&open(folder.path(), split).unwrap_err());
        add(folder.path(), "val/images/val_0.JPEG", &png(5, 4, [255, 0, 0]));
        let text = failure(Split::Test);
        assert!(text.contains("val_0.JPEG` is 3×4×5, expected 3×4×4 as the others"), "{text}");
        add(folder.path(), "val/val_annotations.txt", b"val_1.JPEG\tn1\nval_9.JPEG\tn2\n");
        assert!(failure(Split::Test).contains("cannot read `"));
        for line in [&b"val_1.JPEG\tn7\n"[..], b"../val_1.JPEG\tn1\n", b"val_1.JPEG\n"] {
            add(folder.path(), "val/val_annotations.txt", line);
            assert!(failure(Split::Test).contains("a class of `wnids.txt` in line 1"));
        }
        add(folder.path(), "wnids.txt", b"n1\nn2\nn3\n");
        assert!(failure(Split::Train).contains("train/n3`"));
        add(folder.path(), "wnids.txt", b"../n1\n");
        assert!(failure(Split::Train).contains("expected identifiers of classes, found `../n1`"));
    }
}
