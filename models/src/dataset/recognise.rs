//! Which layout lies at a path, told from the content alone.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::DatasetError;
use super::part::{Half, Part};
use super::{cifar, idx, image_folder, npz, parquet, tiny_imagenet};

/// The layouts, for messages.
pub(super) const KNOWN: &str = "known are folders of CIFAR-10 or CIFAR-100 (`.bin`), Parquet with \
    columns `img` or `image` and `label` or `fine_label`, IDX (`train-images-idx3-ubyte`), \
    Tiny-ImageNet, class folders of images, `.npz` with `x` and `y`, `.npy` beside `labels.npy`, \
    and `synthetic:CLASSESxCxHxW`";

/// How far below the given folder a data set may lie.
const DEPTH: usize = 2;

/// A data set found on the disk, not yet read.
pub(super) trait Layout: std::fmt::Debug {
    /// What it is, for the log.
    fn name(&self) -> &'static str;

    /// Where the images of a half would be, for messages.
    fn expected(&self, half: Half) -> String;

    /// Whether it is one labelled part, which serves as either half.
    fn is_one_part(&self) -> bool {
        false
    }

    /// One half, if it is there.
    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError>;
}

/// A folder's contents, by name; hidden entries are left out.
#[derive(Debug)]
pub(super) struct Listing {
    /// The folder.
    pub(super) path: PathBuf,
    /// Its files.
    pub(super) files: BTreeSet<String>,
    /// Its folders.
    pub(super) folders: BTreeSet<String>,
}

impl Listing {
    /// Lists a folder; symbolic links count as what they point to.
    pub(super) fn of(path: &Path) -> Result<Self, DatasetError> {
        let mut listing =
            Self { path: path.to_owned(), files: BTreeSet::new(), folders: BTreeSet::new() };
        for entry in fs::read_dir(path).map_err(DatasetError::read(path))? {
            let entry = entry.map_err(DatasetError::read(path))?;
            // A name that is no text cannot be opened by its replacement: an error where it matters.
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let mut kind = entry.file_type().map_err(DatasetError::read(path))?;
            if kind.is_symlink() {
                let Ok(target) = fs::metadata(entry.path()) else { continue };
                kind = target.file_type();
            }
            if kind.is_dir() {
                listing.folders.insert(name);
            } else {
                listing.files.insert(name);
            }
        }
        Ok(listing)
    }

    /// Whether a file of that name is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.contains(name)
    }

    /// The path of an entry.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The contents in words, for messages.
    fn summary(&self) -> String {
        let some = |names: &BTreeSet<String>| {
            let shown: Vec<_> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
            let more = if names.len() > shown.len() { ", …" } else { "" };
            format!("({}{more})", shown.join(", "))
        };
        match (self.files.len(), self.folders.len()) {
            (n, 0) => format!("{n} files {}", some(&self.files)),
            (0, n) => format!("{n} folders {}", some(&self.folders)),
            (n, m) => {
                let (files, folders) = (some(&self.files), some(&self.folders));
                format!("{n} files {files} and {m} folders {folders}")
            }
        }
    }
}

/// The data set at `path`: a file, the folder itself, or the only one among the folders below.
pub(super) fn recognise(path: &Path) -> Result<Box<dyn Layout>, DatasetError> {
    if !path.exists() {
        return Err(DatasetError::Missing(path.to_owned()));
    }
    if path.is_file() {
        return file(path)?.ok_or_else(|| DatasetError::Unrecognised {
            path: path.to_owned(),
            found: "a file".to_owned(),
        });
    }
    let listing = Listing::of(path)?;
    if listing.files.is_empty() && listing.folders.is_empty() {
        return Err(DatasetError::EmptyFolder(path.to_owned()));
    }
    if let Some(layout) = folder(&listing)? {
        return Ok(layout);
    }
    let mut found = Vec::new();
    below(&listing, DEPTH, &mut found)?;
    if found.len() > 1 {
        let relative = |(at, _): (PathBuf, _)| {
            at.strip_prefix(path).unwrap_or(&at).to_string_lossy().into_owned()
        };
        let found = found.into_iter().map(relative).collect();
        return Err(DatasetError::Ambiguous { path: path.to_owned(), found });
    }
    if let Some((_, layout)) = found.pop() {
        return Ok(layout);
    }
    let summary = listing.summary();
    boxed(image_folder::Folders::recognise(listing)?)
        .ok_or_else(|| DatasetError::Unrecognised { path: path.to_owned(), found: summary })
}

/// The layout of a single file, told by its first bytes.
fn file(path: &Path) -> Result<Option<Box<dyn Layout>>, DatasetError> {
    let mut magic = Vec::new();
    let file = fs::File::open(path).map_err(DatasetError::read(path))?;
    file.take(8).read_to_end(&mut magic).map_err(DatasetError::read(path))?;
    if magic.starts_with(parquet::MAGIC) {
        return Ok(Some(Box::new(parquet::Files::of_file(path))));
    }
    Ok(boxed(npz::Files::of_file(path, &magic)))
}

/// The layout of a folder itself.
///
/// Class folders are not among them: any data set in a folder's folders comes before.
fn folder(listing: &Listing) -> Result<Option<Box<dyn Layout>>, DatasetError> {
    Ok(boxed(cifar::Files::recognise(listing)?)
        .or_else(|| boxed(idx::Files::recognise(listing)))
        .or_else(|| boxed(tiny_imagenet::Folder::recognise(listing)))
        .or(boxed(parquet::Files::recognise(listing)?))
        .or_else(|| boxed(npz::Files::recognise(listing))))
}

fn boxed<L: Layout + 'static>(layout: Option<L>) -> Option<Box<dyn Layout>> {
    layout.map(|layout| Box::new(layout) as Box<dyn Layout>)
}

/// The data sets in the folders below, each with its folder.
fn below(
    listing: &Listing,
    depth: usize,
    found: &mut Vec<(PathBuf, Box<dyn Layout>)>,
) -> Result<(), DatasetError> {
    for name in &listing.folders {
        let child = Listing::of(&listing.join(name))?;
        match folder(&child)? {
            Some(layout) => found.push((child.path, layout)),
            None if depth > 1 => below(&child, depth - 1, found)?,
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Dataset;
    use super::super::test_files::{add, failure, folder, png};

    #[test]
    fn what_is_not_there_or_not_known() {
        assert_eq!(failure(Path::new("/nonexistent")), "no such file or folder `/nonexistent`");
        let folder = folder(&[]);
        assert!(failure(folder.path()).ends_with("is empty"));
        add(folder.path(), "thesis.tex", b"\\title");
        add(folder.path(), "chapters/one.tex", b"\\chapter");
        let text = failure(folder.path());
        assert!(text.contains("is not a data set that can be recognised"), "{text}");
        assert!(text.contains("found 1 files (`thesis.tex`) and 1 folders (`chapters`)"), "{text}");
        assert!(text.contains("Parquet") && text.contains("IDX"), "{text}");
        assert!(failure(&folder.path().join("thesis.tex")).contains("found a file; known are"));
    }

    #[test]
    fn several_data_sets_are_named() {
        let folder = folder(&[("a/test_batch.bin", b"1"), ("b/c/test_batch.bin", b"1")]);
        let text = failure(folder.path());
        assert!(text.ends_with("holds several data sets, name one of them: `a`, `b/c`"), "{text}");
    }

    #[test]
    fn one_part_is_told_from_two() {
        let picture = png(2, 2, [255, 0, 0]);
        let one: [&[&str]; 4] = [
            &["cat/1.png", "dog/1.png"],
            &["fog.npy", "labels.npy"],
            &["images.npz"],
            &["generated.parquet"],
        ];
        let of = |names: &[&str]| {
            folder(&names.iter().map(|name| (*name, picture.as_slice())).collect::<Vec<_>>())
        };
        for names in one {
            let text = Dataset::in_two_parts(of(names).path()).unwrap_err().to_string();
            assert!(text.contains("is one labelled part"), "{text}");
            assert!(text.contains("expected parts `train` and `test`"), "{text}");
        }
        let two: [&[&str]; 5] = [
            &["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png"],
            &["train.npz", "test.npz"],
            &["train-0.parquet", "test-0.parquet"],
            // Half of it is missing, which whoever opens it is told.
            &["train.npz"],
            &["test_batch.bin"],
        ];
        for names in two {
            Dataset::in_two_parts(of(names).path()).unwrap();
        }
        assert!(Dataset::in_two_parts(Path::new("/nonexistent")).is_err());
    }
}
