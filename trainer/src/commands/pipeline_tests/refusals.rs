//! What is refused before the first stage begins.

use std::ops::Range;

use ndarray::{Array1, Array4};
use ndarray_npy::NpzWriter;

use super::*;

/// Some images of a split as an archive.
pub(super) fn archive(path: &Path, split: Split, rows: Range<usize>) {
    let images = Dataset::open(Path::new(DATA), &Request::new(split)).unwrap();
    let labels: Array1<i64> = images.labels[rows.clone()].iter().map(|y| *y as i64).collect();
    let mut npz = NpzWriter::new(std::fs::File::create(path).unwrap());
    npz.add_array("x", &images.batch(rows)).unwrap();
    npz.add_array("y", &labels).unwrap();
    npz.finish().unwrap();
}

#[test]
fn one_labelled_part_is_not_both_chosen_by_and_reported_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let [data, out] = ["images.npz", "out"].map(|name| folder.path().join(name));
    archive(&data, Split::Test, 0..60);
    let paths = [("--checkpoint", at.as_path()), ("--data", &data)];
    run(&["eval", "--attack", "none"], &paths).unwrap();
    for command in ["rift", "ablate"] {
        let error = run(&[command], &[&paths[..], &[("--out", &out)]].concat()).unwrap_err();
        assert!(error.contains("images.npz` (NumPy archive) is one labelled part"), "{error}");
        assert!(error.contains("expected parts `train` and `test`"), "{error}");
        assert!(!error.contains('\n') && !out.exists(), "{error}");
    }
}

#[test]
fn what_would_fail_at_the_end_is_refused_at_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let [out, copies] = ["out", "copies"].map(|name| folder.path().join(name));
    // Nine images at five severities, of four classes and of one.
    std::fs::create_dir(&copies).unwrap();
    let pixels = Array4::<u8>::zeros((45, 12, 12, 1));
    let labels = |classes: u8| (0..45).map(|row| row % classes).collect::<Array1<u8>>();
    ndarray_npy::write_npy(copies.join("fog.npy"), &pixels).unwrap();
    ndarray_npy::write_npy(copies.join("labels.npy"), &labels(4)).unwrap();
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    let published = [&paths[..], &[("--corruption-files", copies.as_path())]].concat();
    let tiny = checkpoint_of(folder.path(), [1, 6, 6]);
    let tiny = [("--checkpoint", tiny.as_path()), ("--out", &out)];
    let data = ["--data", DATA];
    let six = ["--data", "synthetic:4x1x6x6,train=240,test=60"];
    let refused = |command: &str, arguments: &[&str], paths: &[(&str, &Path)], expected: &str| {
        let error = run(&[&[command], arguments].concat(), paths).unwrap_err();
        assert!(error.contains(expected), "{command} {arguments:?}: {error}");
        assert!(!error.contains('\n') && !out.exists(), "{error}");
    };
    for command in ["rift", "ablate"] {
        let with = |more: &[&'static str]| [&data[..], more].concat();
        refused(command, &with(&["--pad", "12"]), &paths, "pad 12 does not fit");
        let missing = with(&["--corruptions", "fog,snow", "--corruption-limit", "9"]);
        refused(command, &missing, &published, "snow.npy");
        let short = with(&["--corruptions", "fog"]);
        refused(command, &short, &published, "expected 5 times 60 images or more, found 45");
        let small = [&six[..], &["--corruptions", "fog"]].concat();
        refused(command, &small, &tiny, "at least 8×8 pixels, found 6×6");
    }
    refused("rift", &[&data[..], &["--top", "99"]].concat(), &paths, "`--top` of 1 to 10 modules");
    ndarray_npy::write_npy(copies.join("labels.npy"), &labels(1)).unwrap();
    let arguments = [&data[..], &["--corruptions", "fog", "--corruption-limit", "9"]].concat();
    refused("rift", &arguments, &published, "of 4 classes, found");
}

/// A checkpoint of random weights for images of `input` in four classes.
fn checkpoint_of(folder: &Path, input: [usize; 3]) -> PathBuf {
    let arch = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", input, 4) };
    let tensors = init::initialise(&arch.build().unwrap(), 0);
    let classes = (0..4).map(|class| class.to_string()).collect();
    let meta = CheckpointMeta::new(arch, classes, None, Lineage::default());
    let path = folder.join("tiny.safetensors");
    Checkpoint { meta, tensors }.write(&path).unwrap();
    path
}
