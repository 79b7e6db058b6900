//! A training whose disk is full for a while ends as if it had not been.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rift_tests::program::finish;
use rift_tests::small::training;

const EPOCHS: u32 = 3;

/// A file system of 1 MiB, gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it; `None`, with a note, where that is not allowed.
    fn new(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&at).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        rift_tests::skipped("a small file system cannot be mounted here");
        None
    }

    /// Leaves room for the settings and little more.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        fs::write(&filler, vec![0; (1 << 20) - (24 << 10)]).unwrap();
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn bytes(run: &Path) -> [Vec<u8>; 2] {
    ["at.safetensors", "last.safetensors"].map(|file| fs::read(run.join(file)).unwrap())
}

#[test]
fn a_disk_that_is_full_for_a_while_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::new(folder.path().join("disk")) else { return };
    let [whole, run] = [folder.path().join("whole"), disk.0.join("run")];
    let _ = finish(&mut training(&whole, EPOCHS)).success();
    let filler = disk.fill();
    let mut child =
        training(&run, EPOCHS).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let warning = lines.find(|line| line.contains("WARN")).unwrap();
    assert!(
        warning.contains("state.safetensors") || warning.contains("at.safetensors"),
        "{warning}"
    );
    assert!(warning.contains("No space left") && warning.contains("goes on"), "{warning}");
    fs::remove_file(filler).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("can be written again")), "{rest:?}");
    assert!(bytes(&whole) == bytes(&run), "the weights differ");
}
