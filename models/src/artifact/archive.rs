//! A bundle as one file: a tar archive, compressed by Zstandard.
//!
//! An archive holds plain files and nothing else: no folder, no link, no name that leads elsewhere.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

use super::Digest;
use super::atomic::{self, AtomicError};

/// How an archive's file name ends.
pub const SUFFIX: &str = ".tar.zst";
/// The most files of an archive.
const MAX_FILES: usize = 32;
/// The most bytes of its files together: ONNX's own limit, and as much again.
const MAX_BYTES: u64 = 4 << 30;
/// How hard the archive is compressed.
const LEVEL: i32 = 19;

/// An archive that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive cannot be read.
    #[error("cannot read the archive `{path}`")]
    Read {
        /// The archive.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The archive holds something else than a bundle's files.
    #[error("`{path}` is not a bundle's archive: {what}")]
    Content {
        /// The archive.
        path: String,
        /// What it holds.
        what: String,
    },
    /// A folder that no archive can hold.
    #[error("`{folder}` cannot become an archive: expected {expected}, found {found}")]
    Folder {
        /// The folder.
        folder: String,
        /// What an archive holds.
        expected: String,
        /// What the folder holds.
        found: String,
    },
    /// The archive cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// Whether a path is that of an archive, by its name.
pub fn is_archive(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)) && !path.is_dir()
}

/// An archive that is ready to be written.
pub struct Packed<'a> {
    bytes: Vec<u8>,
    to: &'a Path,
}

impl<'a> Packed<'a> {
    /// Packs the files of `folder`; the same files give the same bytes.
    ///
    /// # Errors
    /// If the folder holds what [`unpack`] would refuse, a file cannot be read, or nothing can be
    /// written to `to`.
    pub fn new(folder: &Path, to: &'a Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Read { path: folder.display().to_string(), source };
        let files = plain_files(folder)?;
        atomic::check_writable(to)?;
        let fill = || -> io::Result<Vec<u8>> {
            let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), LEVEL)?);
            for file in &files {
                let bytes = fs::read(file)?;
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                header.set_mtime(0);
                let name = file.file_name().map(PathBuf::from).unwrap_or_default();
                archive.append_data(&mut header, name, bytes.as_slice())?;
            }
            archive.into_inner()?.finish()
        };
        Ok(Self { bytes: fill().map_err(failed)?, to })
    }

    /// Writes the archive, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self) -> Result<Digest, ArchiveError> {
        Ok(atomic::write(self.to, &self.bytes)?)
    }
}

/// The files of a folder, sorted, if an archive can hold them.
fn plain_files(folder: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let failed = |source| ArchiveError::Read { path: folder.display().to_string(), source };
    let wrong = |expected: String, found: String| ArchiveError::Folder {
        folder: folder.display().to_string(),
        expected,
        found,
    };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed)?;
    files.sort();
    if let Some(other) = files.iter().find(|file| !file.is_file()) {
        let name = other.file_name().unwrap_or_default().display().to_string();
        return Err(wrong("plain files".to_owned(), format!("`{name}`")));
    }
    if files.len() > MAX_FILES {
        return Err(wrong(format!("at most {MAX_FILES} files"), files.len().to_string()));
    }
    let sizes = files.iter().map(|file| Ok(fs::metadata(file)?.len()));
    let bytes = sizes.sum::<io::Result<u64>>().map_err(failed)?;
    if bytes > MAX_BYTES {
        return Err(wrong(format!("at most {MAX_BYTES} bytes"), bytes.to_string()));
    }
    Ok(files)
}

/// Unpacks an archive into a private folder that goes when the result does.
///
/// # Errors
/// If it cannot be read, is too large, or holds anything but plain files.
pub fn unpack(path: &Path) -> Result<TempDir, ArchiveError> {
    let failed = |source| ArchiveError::Read { path: path.display().to_string(), source };
    let wrong = |what: String| ArchiveError::Content { path: path.display().to_string(), what };
    let folder = tempfile::Builder::new().prefix("rift-").tempdir().map_err(failed)?;
    let file = File::open(path).map_err(failed)?;
    let plain = zstd::Decoder::new(file).map_err(failed)?.take(MAX_BYTES + 1);
    let mut archive = tar::Archive::new(plain);
    let mut files = 0;
    let mut left = MAX_BYTES;
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.into_owned();
        let is_plain = matches!(name.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
        if entry.header().entry_type() != tar::EntryType::Regular || !is_plain {
            return Err(wrong(format!("expected plain files, found `{}`", name.display())));
        }
        files += 1;
        if files > MAX_FILES {
            return Err(wrong(format!("expected at most {MAX_FILES} files, found more")));
        }
        left = left
            .checked_sub(entry.size())
            .ok_or_else(|| wrong(format!("expected at most {MAX_BYTES} bytes, found more")))?;
        let target = folder.path().join(&name);
        let mut unpacked = File::create_new(&target).map_err(failed)?;
        io::copy(&mut entry, &mut unpacked).map_err(failed)?;
    }
    if files == 0 {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(folder: &Path, to: &Path) -> Result<Digest, ArchiveError> {
        Packed::new(folder, to)?.write()
    }

    fn archive(entries: &[(&str, tar::EntryType)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        for (name, kind) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(0);
            // As a hostile program would write it, past the checks of the library.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, io::empty()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn files_come_back_and_the_same_files_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        fs::write(bundle.join("card.json"), b"{}").unwrap();
        fs::write(bundle.join("model.onnx"), vec![7; 100_000]).unwrap();
        let path = folder.path().join("bundle.tar.zst");
        let digest = pack(&bundle, &path).unwrap();
        assert_eq!(Digest::of_file(&path).unwrap(), digest);
        assert!(is_archive(&path) && !is_archive(&bundle));
        let unpacked = unpack(&path).unwrap();
        assert_eq!(fs::read(unpacked.path().join("model.onnx")).unwrap(), vec![7; 100_000]);
        assert_eq!(pack(unpacked.path(), &path).unwrap(), digest);
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        use tar::EntryType::{Directory, Regular, Symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostile.tar.zst");
        for (name, kind) in [
            ("../card.json", Regular),
            ("/etc/card.json", Regular),
            ("a/card.json", Regular),
            ("card.json", Symlink),
            ("folder", Directory),
        ] {
            fs::write(&path, archive(&[(name, kind)])).unwrap();
            let error = unpack(&path).unwrap_err().to_string();
            assert!(error.contains("expected plain files"), "{name}: {error}");
        }
        let many: Vec<String> = (0..40).map(|i| format!("file{i}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), Regular)).collect();
        fs::write(&path, archive(&many)).unwrap();
        assert!(unpack(&path).unwrap_err().to_string().contains("at most 32 files"));
        fs::write(&path, archive(&[("a", Regular), ("a", Regular)])).unwrap();
        assert!(unpack(&path).is_err());
        for bytes in [&b""[..], b"not compressed", &archive(&[])[..]] {
            fs::write(&path, bytes).unwrap();
            assert!(unpack(&path).is_err());
        }
    }
}
