//! Which layout lies at a path, told from the content alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::DatasetError;
use super::part::{Half, Part};
use super::{cifar, parquet};

/// The layouts, for messages.
pub(super) const KNOWN: &str = "known are CIFAR-10 and CIFAR-100 (`.bin`) and Parquet files with \
    columns `img` or `image` and `label` or `fine_label`, and `synthetic:CLASSESxCxHxW`";

/// How far below the given folder a data set may lie.
const DEPTH: usize = 2;

/// A data set found on the disk, not yet read.
pub(super) trait Layout: std::fmt::Debug {
    /// What it is, for the log.
    fn name(&self) -> &'static str;

    /// Where the images of a half would be, for messages.
    fn expected(&self, half: Half) -> String;

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
            let Ok(name) = entry.file_name().into_string() else { continue };
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
    match found.pop() {
        Some((_, layout)) => Ok(layout),
        None => Err(DatasetError::Unrecognised { path: path.to_owned(), found: listing.summary() }),
    }
}

/// The layout of a single file.
fn file(path: &Path) -> Result<Option<Box<dyn Layout>>, DatasetError> {
    Ok(parquet::Files::of_file(path)?.map(|layout| Box::new(layout) as Box<dyn Layout>))
}

/// The layout of a folder itself.
fn folder(listing: &Listing) -> Result<Option<Box<dyn Layout>>, DatasetError> {
    if let Some(layout) = cifar::Files::recognise(listing)? {
        return Ok(Some(Box::new(layout)));
    }
    if let Some(layout) = parquet::Files::recognise(listing)? {
        return Ok(Some(Box::new(layout)));
    }
    Ok(None)
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
