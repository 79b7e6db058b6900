//! Archives `.npz`, an array at a time.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::error::DatasetError;
use super::idx::MOST_DEFLATED;
use super::npy::Npy;

/// An open archive.
pub(super) struct Archive {
    pub(super) path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    /// Bytes of the file.
    length: u64,
}

impl Archive {
    /// Opens the archive at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(DatasetError::read(path))?;
        let length = file.metadata().map_err(DatasetError::read(path))?.len();
        let zip = ZipArchive::new(BufReader::new(file)).map_err(failed(path))?;
        Ok(Self { path: path.to_owned(), zip, length })
    }

    /// The array of that name, if it is there.
    pub(super) fn array(&mut self, name: &str) -> Result<Option<Npy>, DatasetError> {
        let name = format!("{name}.npy");
        if self.zip.index_for_name(&name).is_none() {
            return Ok(None);
        }
        let entry = self.zip.by_name(&name).map_err(failed(&self.path))?;
        let packed = entry.compressed_size().min(self.length);
        let most = entry.size().min(packed.saturating_mul(MOST_DEFLATED));
        Npy::read(&self.path, entry, most).map(Some)
    }

    /// The array of the first of these names that is there.
    pub(super) fn either(&mut self, [name, other]: [&str; 2]) -> Result<Npy, DatasetError> {
        let found = match self.array(name)? {
            Some(found) => Some(found),
            None => self.array(other)?,
        };
        found.ok_or_else(|| self.missing())
    }

    fn missing(&self) -> DatasetError {
        let mut found: Vec<_> = self.zip.file_names().map(|name| format!("`{name}`")).collect();
        found.sort();
        let expected = "arrays `x` and `y`, or `image` and `label`";
        DatasetError::content(&self.path, expected, found.join(", "))
    }
}

/// Names the archive that could not be read.
fn failed(path: &Path) -> impl FnOnce(zip::result::ZipError) -> DatasetError + '_ {
    move |source| DatasetError::Archive { path: path.to_owned(), source }
}
