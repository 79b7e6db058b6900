//! Files that are written whole or not at all.
//!
//! A file goes to a sibling first, is flushed to the disk and then renamed over its name: whoever
//! reads sees the old file or the new one, also after a kill or with a full disk.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Digest;

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
        let mut file = tempfile::Builder::new().prefix(".rift-").tempfile_in(parent(path))?;
        fill(file.as_file_mut())?;
        file.as_file().sync_all()?;
        // A temporary file is private; what users get follows their umask, as `File::create` would.
        make_readable(file.as_file())?;
        file.persist(path).map_err(|e| e.error)?;
        sync_folder(parent(path))
    };
    attempt().map_err(failed(path))
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

/// A folder that comes into being at once: filled under another name and renamed by
/// [`commit`](StagedFolder::commit). Dropped without, it leaves nothing.
#[derive(Debug)]
pub struct StagedFolder {
    staging: tempfile::TempDir,
    target: PathBuf,
}

impl StagedFolder {
    /// Starts a folder that will become `target`.
    ///
    /// # Errors
    /// If `target` is a file, a folder that Rift did not make (it lacks `marker`), or its parent
    /// cannot be written.
    pub fn new(target: &Path, marker: &str) -> Result<Self, AtomicError> {
        let attempt = || {
            if target.is_file() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is a file"));
            }
            let is_empty = || Ok::<_, io::Error>(fs::read_dir(target)?.next().is_none());
            if target.is_dir() && !target.join(marker).exists() && !is_empty()? {
                let reason = format!("the folder exists and holds no `{marker}`");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
            }
            fs::create_dir_all(parent(target))?;
            tempfile::Builder::new().prefix(".rift-").tempdir_in(parent(target))
        };
        let staging = attempt().map_err(failed(target))?;
        Ok(Self { staging, target: target.to_owned() })
    }

    /// The folder to fill.
    pub fn path(&self) -> &Path {
        self.staging.path()
    }

    /// Gives the folder its name, replacing an older one: in one step where the system can exchange
    /// two folders (Linux). Elsewhere there is a moment between two renames in which none has the
    /// name and the older one lies beside it.
    ///
    /// # Errors
    /// If it cannot be renamed; the older folder is put back.
    pub fn commit(self) -> Result<(), AtomicError> {
        let attempt = || {
            open_folder(self.staging.path())?;
            if !self.target.exists() {
                fs::rename(self.staging.path(), &self.target)?;
            } else if !exchange(self.staging.path(), &self.target)? {
                self.replace()?;
            }
            // After an exchange the older folder lies where this one was; it goes with the staging.
            sync_folder(parent(&self.target))
        };
        attempt().map_err(failed(&self.target))
    }

    fn replace(&self) -> io::Result<()> {
        let old = self.staging.path().with_extension("old");
        fs::rename(&self.target, &old)?;
        if let Err(error) = fs::rename(self.staging.path(), &self.target) {
            fs::rename(&old, &self.target)?;
            return Err(error);
        }
        fs::remove_dir_all(&old)
    }
}

/// Lets two folders exchange their names in one step; `false` where the system cannot.
#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<bool> {
    Ok(false)
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

#[cfg(unix)]
fn open_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
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
    fn a_staged_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("bundle");
        let staged = StagedFolder::new(&target, "card.json").unwrap();
        fs::write(staged.path().join("card.json"), b"1").unwrap();
        drop(staged);
        assert!(names(folder.path()).is_empty());
        for text in ["1", "2"] {
            let staged = StagedFolder::new(&target, "card.json").unwrap();
            fs::write(staged.path().join("card.json"), text).unwrap();
            staged.commit().unwrap();
            assert_eq!(fs::read_to_string(target.join("card.json")).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["bundle"]);
    }

    #[test]
    fn a_folder_of_somebody_else_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), b"").unwrap();
        let error = StagedFolder::new(folder.path(), "card.json").unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("card.json"));
    }
}
