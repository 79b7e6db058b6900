//! Files that are written whole or not at all.
//!
//! A file goes to a sibling first, is flushed to the disk and then renamed over its name: whoever
//! reads sees the old file or the new one, also after a kill or with a full disk.

mod staged;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

pub use staged::StagedFolder;

use super::Digest;

/// How the names of what is not finished yet begin.
const UNFINISHED: &str = ".rift-";

/// A file that could not be written; what was there before is untouched.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{path}`")]
pub struct AtomicError {
    path: String,
    #[source]
    source: io::Error,
}

impl AtomicError {
    /// The error for a file that grows in place, which cannot be written by renaming.
    pub fn new(path: &Path, source: io::Error) -> Self {
        failed(path)(source)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> AtomicError + '_ {
    move |source| AtomicError { path: path.display().to_string(), source }
}

/// The folder a path lies in; the working directory for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes `bytes` to `path`, making its folder if need be.
///
/// # Errors
/// If the disk is full or the path cannot be written; nothing is left behind.
pub fn write(path: &Path, bytes: &[u8]) -> Result<Digest, AtomicError> {
    write_with(path, |file| file.write_all(bytes))?;
    Ok(Digest::of_bytes(bytes))
}

/// Writes to `path` by `fill`, making its folder if need be.
///
/// # Errors
/// If `fill` fails, the disk is full or the path cannot be written; nothing is left behind.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> Result<(), AtomicError> {
    let attempt = || {
        // A device or a pipe (`/dev/stdout`) is written as it is: a rename would put a file in its
        // place.
        if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let mut device = fs::OpenOptions::new().write(true).open(path)?;
            fill(&mut device)?;
            return device.flush();
        }
        fs::create_dir_all(parent(path))?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(parent(path))?;
        fill(file.as_file_mut())?;
        file.as_file().sync_all()?;
        // A temporary file is private; what users get follows their umask, as `File::create` would.
        make_readable(file.as_file())?;
        file.persist(path).map_err(|e| e.error)?;
        sync_folder(parent(path))
    };
    attempt().map_err(failed(path))
}

/// Fails now if `path` could not be written later, so that nothing else is done in vain.
///
/// Nothing is left behind: what is tried is a temporary file in the nearest folder that exists.
///
/// # Errors
/// If it is a folder, or nothing can be written there.
pub fn check_writable(path: &Path) -> Result<(), AtomicError> {
    let attempt = || match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"))
        }
        Ok(found) if !found.is_file() => fs::OpenOptions::new().write(true).open(path).map(drop),
        _ => try_beside(path),
    };
    attempt().map_err(failed(path))
}

/// Whether something can be put where `path` will be.
fn try_beside(path: &Path) -> io::Result<()> {
    let absolute = std::path::absolute(path)?;
    let exists = |folder: &&Path| folder.exists();
    let folder = absolute.ancestors().skip(1).find(exists).unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        let reason = format!("`{}` is no folder", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, reason));
    }
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder).map(drop)
}

/// Writes `value` to `path` as indented JSON with a final line break.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<Digest, AtomicError> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(io::Error::other).map_err(failed(path))?;
    bytes.push(b'\n');
    write(path, &bytes)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn make_readable(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn make_readable(_: &fs::File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"old").unwrap();
        let failing = |file: &mut fs::File| {
            file.write_all(b"ne")?;
            Err(io::Error::other("disk full"))
        };
        assert!(write_with(&path, failing).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.json"]);
        assert!(write(&path.join("below-a-file"), b"x").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        write(Path::new("/dev/null"), b"x").unwrap();
        let error = write(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        for device in ["/dev/null", "/dev/full"] {
            assert!(fs::metadata(device).unwrap().file_type().is_char_device());
        }
    }
    #[test]
    fn what_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        check_writable(&path).unwrap();
        check_writable(&folder.path().join("new/deep/a.json")).unwrap();
        assert!(names(folder.path()).is_empty());
        assert!(check_writable(folder.path()).is_err());
        write(&path, b"x").unwrap();
        check_writable(&path).unwrap();
        assert!(check_writable(&path.join("below-a-file")).is_err());
        assert_eq!(names(folder.path()), ["a.json"]);
    }
}
