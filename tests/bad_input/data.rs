//! Data sets that are missing, empty, cut short or wrong.

use std::fs;
use std::path::Path;

use rift_tests::Program;
use rift_tests::program::finish;

/// Trains on `data`, which is refused, and returns the message.
fn refusal(data: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = Program::Trainer.command(["train", "--method", "at", "--epochs", "1"]);
    command.args(["--arch", "resnet8", "--eps", "8/255", "--step", "2/255", "--steps", "1"]);
    let message = finish(command.arg("--data").arg(data).arg("--out").arg(&run)).refusal();
    assert!(!run.exists(), "`{}` was made", run.display());
    message
}

/// CIFAR-10 in the official binary version, `images` a file, every byte from `byte`.
fn cifar10(folder: &Path, images: usize, byte: impl Fn(usize) -> u8) {
    let bytes: Vec<u8> = (0..images * 3073).map(byte).collect();
    for name in (1..=5).map(|n| format!("data_batch_{n}.bin")).chain(["test_batch.bin".into()]) {
        fs::write(folder.join(name), &bytes).unwrap();
    }
}

#[test]
fn a_missing_folder() {
    let message = refusal(Path::new("/no/such/folder"));
    assert!(message.contains("`/no/such/folder`"), "{message}");
}

#[test]
fn an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let message = refusal(folder.path());
    assert!(message.contains(&folder.path().display().to_string()), "{message}");
}

#[test]
fn a_truncated_cifar_file() {
    let folder = tempfile::tempdir().unwrap();
    cifar10(folder.path(), 20, |i| if i % 3073 == 0 { (i / 3073 % 10) as u8 } else { 7 });
    let path = folder.path().join("data_batch_3.bin");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let message = refusal(folder.path());
    assert!(message.contains("data_batch_3.bin"), "{message}");
}

#[test]
fn a_label_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    cifar10(folder.path(), 20, |i| if i % 3073 == 0 { 200 } else { 7 });
    let message = refusal(folder.path());
    assert!(message.contains("200"), "{message}");
}

#[test]
fn a_specification_that_says_nothing() {
    let message = refusal(Path::new("synthetic:many"));
    assert!(message.contains("synthetic:many"), "{message}");
}
