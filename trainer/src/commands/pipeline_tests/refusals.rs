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

#[test]
fn numbers_beyond_all_use_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    let refused = |arguments: &[&str], expected: &str| {
        let words = [&["rift-trainer"], arguments].concat();
        let words = words.iter().map(OsString::from);
        let flags = paths.iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
        let error = Cli::try_parse_from(words.chain(flags)).map_err(|error| error.to_string());
        let error = error.and_then(|cli| cli.command.run().map_err(|error| error.to_string()));
        let error = error.unwrap_err();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    };
    let with =
        |command: &'static str, more: &[&'static str]| [&[command, "--data", DATA], more].concat();
    let endless = "9223372036854775807";
    let finetune = ["--scope", "last", "--epochs", endless];
    refused(&with("finetune", &finetune), "is not in 1..=1000000");
    refused(&with("rift", &["--epochs", endless]), "is not in 1..=1000000");
    refused(&with("rift", &["--search", "0.1x9223372036854775807"]), "such as `0.001x10");
    for command in ["rift", "ablate", "mrc"] {
        refused(&with(command, &["--threads", "20000"]), "20000 is not in 1..=1024");
        refused(&with(command, &["--steps", "0"]), "'--steps <STEPS>'");
    }
    refused(&with("rift", &["--test-steps", "0"]), "'--test-steps <N>'");
    refused(&with("rift", &["--search", "0.1x2,0.1x2"]), "found 0.1x2 more than once");
    for command in ["rift", "ablate"] {
        refused(&with(command, &["--severity", "3"]), "--corruptions");
    }
    assert!(!out.exists());
    // A batch of more images than there are is one batch.
    let mrc = ["--ascent-steps", "1", "--limit", "9", "--steps", "1", "--halves"];
    let mrc = [&with("mrc", &mrc), &["--batch-size", "18446744073709551614"][..]].concat();
    run(&mrc, &paths).unwrap();
    let train = ["train", "--data", DATA, "--arch", "resnet8", "--epochs", "1", "--method", "at"];
    for key in ["steps", "validation_steps"] {
        let flag = format!("--{}", key.replace('_', "-"));
        let run = folder.path().join("run");
        let error = run_train(&[&train[..], &[&flag, "0"]].concat(), &run).unwrap_err();
        assert!(error.contains(&format!("`{key}` is `0`, expected at least 1")), "{error}");
        assert!(!run.exists());
    }
}

fn run_train(arguments: &[&str], out: &Path) -> Result<(), String> {
    run(arguments, &[("--out", out)])
}

#[test]
fn flags_that_say_nothing_beside_the_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let eval = ["eval", "--data", DATA, "--limit", "9"];
    let paths = [("--checkpoint", at.as_path())];
    for [flag, value] in
        [["--restarts", "1"], ["--steps", "20"], ["--eps", "8/255"], ["--norm", "linf"]]
    {
        let error = run(&[&eval[..], &["--attack", "none", flag, value]].concat(), &paths);
        let expected = format!("`{flag}` has no effect with `--attack none`");
        assert_eq!(error.unwrap_err(), expected);
    }
    run(&[&eval[..], &["--attack", "none"]].concat(), &paths).unwrap();
    run(&[&eval[..], &["--steps", "1", "--restarts", "2"]].concat(), &paths).unwrap();
    let error = run(&[&eval[..], &["--severity", "3"]].concat(), &paths).unwrap_err();
    assert!(error.contains("--corruptions"), "{error}");
}

#[test]
fn one_class_is_nothing_to_learn() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for part in ["train.npz", "test.npz"] {
        let mut npz = NpzWriter::new(std::fs::File::create(data.join(part)).unwrap());
        npz.add_array("x", &Array4::<f32>::zeros((40, 1, 12, 12))).unwrap();
        npz.add_array("y", &Array1::<i64>::zeros(40)).unwrap();
        npz.finish().unwrap();
    }
    let train = ["train", "--arch", "resnet8", "--epochs", "1"];
    let error = run(&train, &[("--data", data.as_path()), ("--out", &out)]).unwrap_err();
    assert!(error.contains("at least 2 classes, found 1"), "{error}");
    let paths = [("--data", data.as_path()), ("--checkpoint", &at), ("--out", &out)];
    for command in [&["mrc"][..], &["finetune", "--scope", "all"], &["rift"], &["ablate"]] {
        let error = run(command, &paths).unwrap_err();
        assert!(error.contains("at least 2 classes, found 1"), "{command:?}: {error}");
    }
    assert!(!out.exists());
}

#[test]
fn a_module_counts_once_in_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let [mrc, out] = ["mrc.json", "out"].map(|name| folder.path().join(name));
    let arguments = ["mrc", "--data", DATA, "--ascent-steps", "1", "--limit", "9", "--steps", "1"];
    run(&arguments, &[("--checkpoint", &at), ("--out", &mrc)]).unwrap();
    let mut report: MrcReport = read_json(&mrc, "report").unwrap();
    report.rows[1] = report.rows[0].clone();
    std::fs::write(&mrc, serde_json::to_vec(&report).unwrap()).unwrap();
    let arguments = ["finetune", "--data", DATA, "--top", "2", "--epochs", "1"];
    let paths = [("--checkpoint", at.as_path()), ("--mrc", &mrc), ("--out", &out)];
    let error = run(&arguments, &paths).unwrap_err();
    assert!(error.contains("mrc.json`: expected each module once"), "{error}");
    assert!(!out.exists());
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
