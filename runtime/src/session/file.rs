//! A model's file, read once.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rift_models::artifact::{Bundle, BundleError, Digest, archive};
use rift_models::onnx::{MAX_BYTES, with_external_data};

use super::SessionError;

/// A model's file in memory: who checks these bytes and opens them, opens what was checked, whatever
/// happens to the file meanwhile.
#[derive(Debug)]
pub struct ModelFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) bundle: Option<Bundle>,
}

impl ModelFile {
    /// Reads a bundle, a folder or a `.tar.zst` archive, whose files are held against its card, or a
    /// bare `.onnx` file, with the numbers that it keeps in a file beside it.
    ///
    /// # Errors
    /// If there is no model or it is not what its card says.
    pub fn read(path: &Path) -> Result<Self, SessionError> {
        Self::read_within(path, MAX_BYTES)
    }

    /// As [`read`](Self::read), but a file and the numbers beside it become at most `limit` bytes.
    ///
    /// # Errors
    /// As there.
    pub fn read_within(path: &Path, limit: u64) -> Result<Self, SessionError> {
        let is_bundle = path.is_dir() || archive::is_archive(path);
        let bundle = if is_bundle { Some(Bundle::open(path)?) } else { None };
        let file = bundle.as_ref().map_or_else(|| path.to_owned(), Bundle::model);
        let name = || path.display().to_string();
        let bytes = content(&file).map_err(|source| SessionError::Read { path: name(), source })?;
        if let Some(bundle) = &bundle {
            // It may have been replaced since the bundle was held against its card.
            let (expected, found) = (bundle.card.model.clone(), Digest::of_bytes(&bytes));
            if found != expected {
                let path = file.display().to_string();
                return Err(BundleError::Changed { path, expected, found }.into());
            }
        }
        // A card vouches for nothing that lies beside its model.
        let bytes =
            if bundle.is_some() { Ok(bytes) } else { with_external_data(bytes, &file, limit) };
        let bytes = bytes.map_err(|source| SessionError::Onnx { path: name(), source })?;
        Ok(Self { path: path.to_owned(), bytes, bundle })
    }

    /// The content of a bare `.onnx` file; `path` names it in errors.
    pub fn bare(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), bytes, bundle: None }
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bundle, where the model is one.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_ref()
    }

    /// The ONNX file's content, with what lay beside it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The content of a plain file, no more of it than a model can have and one byte.
fn content(file: &Path) -> io::Result<Vec<u8>> {
    // To open a pipe is to wait for whoever writes into it.
    let metadata = std::fs::metadata(file)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(metadata.len().min(MAX_BYTES) as usize)?;
    File::open(file)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
