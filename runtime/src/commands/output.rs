//! Files that a command will write, found to be writable before the work begins.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;

/// Fails now if `path` could not be written later, so that no long work is lost.
///
/// Nothing is left behind: what is tried is a temporary file in the nearest folder that exists.
pub(crate) fn check_writable(path: &Path) -> anyhow::Result<()> {
    try_writing(path).with_context(|| format!("cannot write `{}`", path.display()))
}

fn try_writing(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        // A device or a pipe is written as it is.
        Ok(found) if !found.is_file() => {
            return fs::OpenOptions::new().write(true).open(path).map(drop);
        }
        _ => {}
    }
    let absolute = std::path::absolute(path)?;
    let exists = |folder: &&Path| folder.exists();
    let folder = absolute.ancestors().skip(1).find(exists).unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        let reason = format!("`{}` is no folder", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotADirectory, reason));
    }
    tempfile::Builder::new().prefix(".rift-").tempfile_in(folder).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_so_before_the_work_begins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        check_writable(&file).unwrap();
        check_writable(&folder.path().join("new/deep/a.json")).unwrap();
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
        let is_folder = check_writable(folder.path()).unwrap_err();
        assert!(format!("{is_folder:#}").contains("is a folder"), "{is_folder:#}");
        fs::write(&file, b"x").unwrap();
        let below = check_writable(&file.join("b.json")).unwrap_err();
        assert!(format!("{below:#}").contains("is no folder"), "{below:#}");
    }
}
