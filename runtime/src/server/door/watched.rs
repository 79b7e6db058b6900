//! Files that may change under a running server.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// When some files were last changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<(SystemTime, u64)>>);

impl Stamp {
    /// Of these files, as they are now.
    pub(super) fn of<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        let stamp = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        };
        Self(paths.into_iter().map(|path| stamp(path)).collect())
    }
}
