//! Folders that come into being at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::place;
use super::{AtomicError, UNFINISHED, failed, parent, sync_folder, try_beside};

/// How the name of a folder begins that is being filled.
const STAGING: &str = ".rift-unfinished-";
/// What desktops leave in folders that somebody has looked into.
const NOBODYS: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];
/// For how long a folder that nobody fills any more is left alone: whoever has just made one may not
/// hold it yet.
const REST: Duration = Duration::from_mins(1);

/// A folder that comes into being at once: filled under another name and renamed by
/// [`commit`](StagedFolder::commit). Dropped without, it leaves nothing; what a run leaves that was
/// killed goes when the next one begins beside it.
#[derive(Debug)]
pub struct StagedFolder {
    staging: tempfile::TempDir,
    target: PathBuf,
    files: Vec<String>,
    /// Held as long as this program fills the folder.
    _lock: Option<fs::File>,
}

impl StagedFolder {
    /// Starts a folder that will become `target`, or what `target` links to.
    ///
    /// `files` are all that it may hold, by their paths below it; an older folder is known by the
    /// first and replaced if it holds no others.
    ///
    /// # Errors
    /// As [`check`](Self::check), or if nothing can be written beside it.
    pub fn new(target: &Path, files: &[&str]) -> Result<Self, AtomicError> {
        let attempt = || {
            let place = followed(target)?;
            check_older(&place, files)?;
            fs::create_dir_all(parent(&place))?;
            sweep(parent(&place), files);
            let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(parent(&place))?;
            let lock = hold(staging.path());
            let files = files.iter().map(|file| (*file).to_owned()).collect();
            Ok(Self { staging, target: place, files, _lock: lock })
        };
        attempt().map_err(failed(target))
    }

    /// Fails now where [`new`](Self::new) would; nothing is made.
    ///
    /// # Errors
    /// If `target` is a file, a folder that Rift did not make or that holds more than `files`, or
    /// nothing can be written beside it.
    pub fn check(target: &Path, files: &[&str]) -> Result<(), AtomicError> {
        let attempt = || {
            let place = followed(target)?;
            check_older(&place, files)?;
            try_beside(&place)
        };
        attempt().map_err(failed(target))
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
    /// If it cannot be renamed, or the older folder has got other files by now; it stays then.
    pub fn commit(self) -> Result<(), AtomicError> {
        let attempt = || {
            open_folder(self.staging.path())?;
            let files: Vec<&str> = self.files.iter().map(String::as_str).collect();
            check_older(&self.target, &files)?;
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

/// Where a path leads; an error where that is a link to nothing.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let place = place::resolve(path);
    if place.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is a link to nothing"));
    }
    Ok(place)
}

/// Whether what lies at `target` may be replaced: nothing, an empty folder, or one known by the
/// first of `files` that holds no others.
fn check_older(target: &Path, files: &[&str]) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    if !target.is_dir() {
        return if target.exists() { refuse("it is a file".to_owned()) } else { Ok(()) };
    }
    let is_empty = fs::read_dir(target)?.next().is_none();
    if let Some(marker) = files.first().filter(|_| !is_empty)
        && !target.join(marker).exists()
    {
        return refuse(format!("the folder exists and holds no `{marker}`"));
    }
    match foreign(target, "", files)? {
        None => Ok(()),
        Some(name) => refuse(format!(
            "the folder holds `{name}`, which would be lost: move it, or name another folder"
        )),
    }
}

/// The first of what lies below `folder` that is none of `files`.
fn foreign(folder: &Path, below: &str, files: &[&str]) -> io::Result<Option<String>> {
    let entries: io::Result<Vec<fs::DirEntry>> = fs::read_dir(folder.join(below))?.collect();
    let mut entries = entries?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{below}{}", entry.file_name().display());
        let found = if entry.file_type()?.is_dir() {
            let inside = name + "/";
            let is_ours = files.iter().any(|file| file.starts_with(&inside));
            if is_ours { foreign(folder, &inside, files)? } else { Some(inside) }
        } else {
            // What a file was written to when that was cut short.
            let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            let is_nobodys = NOBODYS.iter().any(|nobodys| entry.file_name() == *nobodys);
            let is_lost = !is_unfinished && !is_nobodys && !files.contains(&name.as_str());
            is_lost.then_some(name)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Removes the folders of such `files` beside which runs were killed. What cannot be removed stays:
/// it is in nobody's way.
fn sweep(folder: &Path, files: &[&str]) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(STAGING)
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && foreign(&entry.path(), "", files).is_ok_and(|name| name.is_none());
        let modified = entry.metadata().and_then(|found| found.modified());
        let has_rested = modified.is_ok_and(|at| at.elapsed().is_ok_and(|rest| rest > REST));
        // Whoever fills it holds it.
        if is_ours && has_rested && hold(&entry.path()).is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Holds a folder until the result is dropped; `None` where somebody else does or the system cannot.
fn hold(folder: &Path) -> Option<fs::File> {
    let file = fs::File::open(folder).ok()?;
    file.try_lock().ok().map(|()| file)
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
    use std::error::Error;
    use std::time::SystemTime;

    use super::super::tests::names;
    use super::*;

    const FILES: [&str; 3] = ["card.json", "model.onnx", "1/model.onnx"];

    /// A folder at `target` whose card has this text.
    fn put(target: &Path, text: &str) -> Result<(), AtomicError> {
        let staged = StagedFolder::new(target, &FILES)?;
        fs::write(staged.path().join("card.json"), text).unwrap();
        staged.commit()
    }

    fn reason(error: &AtomicError) -> String {
        error.source().unwrap().to_string()
    }

    #[test]
    fn appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("bundle");
        let staged = StagedFolder::new(&target, &FILES).unwrap();
        fs::write(staged.path().join("card.json"), b"1").unwrap();
        drop(staged);
        assert!(names(folder.path()).is_empty());
        for text in ["1", "2"] {
            put(&target, text).unwrap();
            assert_eq!(fs::read_to_string(target.join("card.json")).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["bundle"]);
    }

    #[test]
    fn a_folder_of_somebody_else_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), b"").unwrap();
        let error = StagedFolder::new(folder.path(), &FILES).unwrap_err();
        assert!(reason(&error).contains("card.json"));
        assert!(StagedFolder::check(folder.path(), &FILES).is_err());
    }

    #[test]
    fn nothing_is_lost_that_lies_in_an_older_folder() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("bundle");
        put(&target, "1").unwrap();
        fs::create_dir(target.join("1")).unwrap();
        for name in ["model.onnx", "1/model.onnx", ".rift-half", ".DS_Store"] {
            fs::write(target.join(name), b"").unwrap();
        }
        StagedFolder::check(&target, &FILES).unwrap();
        for (file, named) in
            [("notes.txt", "`notes.txt`"), ("1/notes.txt", "`1/notes.txt`"), ("q/m", "`q/`")]
        {
            fs::create_dir_all(target.join(file).parent().unwrap()).unwrap();
            fs::write(target.join(file), b"").unwrap();
            let error = put(&target, "2").unwrap_err();
            assert!(reason(&error).contains(named), "{}", reason(&error));
            fs::remove_file(target.join(file)).unwrap();
        }
        fs::remove_dir(target.join("q")).unwrap();
        // What comes while the new folder is being filled stays too.
        let staged = StagedFolder::new(&target, &FILES).unwrap();
        fs::write(target.join("notes.txt"), b"").unwrap();
        assert!(reason(&staged.commit().unwrap_err()).contains("`notes.txt`"));
        assert_eq!(fs::read_to_string(target.join("card.json")).unwrap(), "1");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let [link, disk] = ["link", "disk"].map(|name| folder.path().join(name));
        fs::create_dir(&disk).unwrap();
        std::os::unix::fs::symlink("disk/bundle", &link).unwrap();
        assert!(put(&link, "1").is_err(), "a link to nothing");
        fs::create_dir(disk.join("bundle")).unwrap();
        put(&link, "1").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(&disk), ["bundle"]);
        assert_eq!(names(&disk.join("bundle")), ["card.json"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_a_killed_run_left_goes_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let rest = |path: &Path| {
            let long_ago = SystemTime::now() - 2 * REST;
            fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
        };
        let put_beside = |name: &str, file: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join(file), b"").unwrap();
            rest(&path);
        };
        put_beside(".rift-unfinished-dead", "model.onnx");
        put_beside(".rift-unfinished-theirs", "thesis.tex");
        put_beside(".rift-mine", "model.onnx");
        let in_use = StagedFolder::new(&folder.path().join("one"), &FILES).unwrap();
        rest(in_use.path());
        let in_use_name = in_use.path().file_name().unwrap().display().to_string();
        put(&folder.path().join("two"), "2").unwrap();
        let mut expected = [".rift-mine", &in_use_name, ".rift-unfinished-theirs", "two"];
        expected.sort_unstable();
        assert_eq!(names(folder.path()), expected);
        in_use.commit().unwrap();
    }
}
