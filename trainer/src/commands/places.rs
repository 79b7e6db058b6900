//! Where a command reads and writes. What it reads is not written over, no two results go to one
//! place, and a place that takes no file is refused before the work rather than after it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rift_models::artifact::{atomic, place};
use rift_models::dataset;

/// The places of a command, each with the flag that names it.
#[derive(Debug, Default)]
pub(super) struct Places {
    reads: Vec<(&'static str, PathBuf)>,
    folders: Vec<(&'static str, PathBuf)>,
    files: Vec<(&'static str, PathBuf)>,
}

impl Places {
    /// No places yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A file or folder that is read.
    pub(super) fn reads<'p>(
        mut self,
        flag: &'static str,
        path: impl Into<Option<&'p Path>>,
    ) -> Self {
        self.reads.extend(path.into().map(|path| (flag, path.to_owned())));
        self
    }

    /// A file that is written.
    pub(super) fn writes<'p>(
        mut self,
        flag: &'static str,
        path: impl Into<Option<&'p Path>>,
    ) -> Self {
        self.files.extend(path.into().map(|path| (flag, path.to_owned())));
        self
    }

    /// A folder, and the files that are written into it.
    pub(super) fn fills(
        mut self,
        flag: &'static str,
        folder: &Path,
        files: impl IntoIterator<Item = impl AsRef<Path>>,
    ) -> Self {
        self.folders.push((flag, folder.to_owned()));
        self.files.extend(files.into_iter().map(|file| (flag, folder.join(file))));
        self
    }

    /// Checks them all; nothing is left behind.
    ///
    /// # Errors
    /// If a result would go over an input or another result, or cannot be written.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (flag, folder) in &self.folders {
            let is_file = fs::metadata(folder).is_ok_and(|found| !found.is_dir());
            anyhow::ensure!(
                !is_file,
                "`{flag}` is the file `{}`, expected a folder",
                folder.display()
            );
        }
        for (flag, file) in &self.files {
            let shown = file.display();
            anyhow::ensure!(
                !file.is_dir(),
                "`{flag}` would write to the folder `{shown}`, expected a file"
            );
        }
        self.distinct()?;
        self.writable()
    }

    /// Checks that no file is written that is read, and none twice.
    fn distinct(&self) -> anyhow::Result<()> {
        let known = |places: &[(&'static str, PathBuf)]| -> Vec<(&'static str, PathBuf)> {
            places.iter().map(|(flag, path)| (*flag, place::resolve(path))).collect()
        };
        // A device or a pipe takes whatever comes.
        let files: Vec<_> =
            self.files.iter().filter(|(_, path)| !is_device(path)).cloned().collect();
        let (reads, files) = (known(&self.reads), known(&files));
        for (place, (flag, path)) in files.iter().enumerate() {
            let shown = path.display();
            let takes = |read: &Path| {
                // In a folder of images reports are at home, but not in the place of the images.
                let is_in_it = read.is_dir() && path.starts_with(read) && path.exists();
                read == path || is_in_it && dataset::may_be_read(path)
            };
            if let Some((read, _)) = reads.iter().find(|(_, read)| takes(read)) {
                anyhow::bail!(
                    "`{flag}` would overwrite `{shown}`, which `{read}` names, expected another path"
                );
            }
            if let Some((other, _)) = files[..place].iter().find(|(_, other)| other == path) {
                anyhow::bail!(
                    "`{other}` and `{flag}` would both write `{shown}`, expected different paths"
                );
            }
        }
        Ok(())
    }

    /// Tries whether the folders of the files take any.
    fn writable(&self) -> anyhow::Result<()> {
        let mut tried = BTreeSet::new();
        for (_, path) in self.files.iter().filter(|(_, path)| !is_device(path)) {
            if tried.insert(place::resolve(path).parent().map(Path::to_owned)) {
                atomic::check_writable(path)?;
            }
        }
        Ok(())
    }
}

/// Whether a path is written as it is, as `/dev/stdout` and pipes are.
fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(places: &Places) -> String {
        let error = format!("{:#}", places.check().unwrap_err());
        assert!(!error.contains('\n'), "{error}");
        error
    }

    #[test]
    fn what_is_read_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("c"), "weights").unwrap();
        fs::create_dir(at("sub")).unwrap();
        let reading = || Places::new().reads("--checkpoint", at("c").as_path());
        // By any of its names.
        for name in ["c", "sub/../c", "absent/../c", "./c"] {
            let error = refusal(&reading().writes("--out", at(name).as_path()));
            assert!(error.starts_with("`--out` would overwrite `"), "{error}");
            assert!(error.contains("which `--checkpoint` names"), "{error}");
        }
        let error = refusal(&reading().fills("--out", folder.path(), ["a", "c"]));
        assert!(error.starts_with("`--out` would overwrite `"), "{error}");
        reading().fills("--out", folder.path(), ["a", "b"]).check().unwrap();
        fs::write(at("sub/test.npz"), "images").unwrap();
        fs::write(at("sub/adversarial.npz"), "of an earlier run").unwrap();
        let data = || Places::new().reads("--data", at("sub").as_path());
        let error = refusal(&data().writes("--save-adversarial", at("sub/test.npz").as_path()));
        assert!(error.contains("which `--data` names"), "{error}");
        data().writes("--save-adversarial", at("sub/adversarial.npz").as_path()).check().unwrap();
        reading().writes("--out", at("d").as_path()).writes("--json", None).check().unwrap();
        assert_eq!(fs::read(at("c")).unwrap(), b"weights");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("c"), "weights").unwrap();
        std::os::unix::fs::symlink(folder.path(), at("link")).unwrap();
        let places = Places::new().reads("--checkpoint", at("link/c").as_path());
        let error = refusal(&places.writes("--out", at("c").as_path()));
        assert!(error.contains("would overwrite"), "{error}");
        // What is not there yet has one name, too.
        let places = Places::new().writes("--out", at("link/new/x").as_path());
        let error = refusal(&places.writes("--json", at("new/x").as_path()));
        assert!(error.starts_with("`--out` and `--json` would both write `"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_said_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("sub")).unwrap();
        let error = refusal(&Places::new().writes("--json", at("sub").as_path()));
        assert!(error.starts_with("`--json` would write to the folder `"), "{error}");
        let error = refusal(&Places::new().fills("--out", &at("file"), ["a"]));
        assert!(error.starts_with("`--out` is the file `"), "{error}");
        let error = refusal(&Places::new().writes("--json", at("file/below/a").as_path()));
        assert!(error.starts_with("cannot write `"), "{error}");
        Places::new().fills("--out", &at("new/folder"), ["a"]).check().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(at("sub")).unwrap().count(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_take_everything_and_the_system_s_folders_nothing() {
        let null = Path::new("/dev/null");
        Places::new().writes("--out", null).writes("--json", null).check().unwrap();
        let error = refusal(&Places::new().writes("--json", Path::new("/proc/no-such/a.json")));
        assert!(error.starts_with("cannot write `/proc/no-such/a.json`: "), "{error}");
    }
}
