//! A training that cannot be resumed as it was asked to be.

use std::fs;
use std::path::{Path, PathBuf};

use rift_tests::Program;
use rift_tests::program::{Finished, finish};
use rift_tests::small::training;

fn run(folder: &Path) -> PathBuf {
    let run = folder.join("run");
    let _ = finish(&mut training(&run, 1)).success();
    run
}

fn resume(run: &Path, arguments: &[&str]) -> Finished {
    let mut command = Program::Trainer.command(["train", "--resume", "--out"]);
    finish(command.arg(run).args(arguments))
}

#[test]
fn other_settings_are_all_named_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let state = fs::read(run.join("state.safetensors")).unwrap();
    let settings = fs::read(run.join("run.toml")).unwrap();
    let arguments = ["--epochs", "2", "--lr", "0.5", "--momentum", "0.5", "--limit", "100"];
    let message = resume(&run, &arguments).refusal();
    for part in [
        "`epochs` = `1`, now it is `2`",
        "`learning_rate` = `0.1`, now it is `0.5`",
        "`momentum` = `0.9`, now it is `0.5`",
        "`limit` = not set, now it is `100`",
        "resumes with its own settings only",
    ] {
        assert!(message.contains(part), "`{part}`: {message}");
    }
    assert_eq!(fs::read(run.join("state.safetensors")).unwrap(), state);
    assert_eq!(fs::read(run.join("run.toml")).unwrap(), settings, "the run is as it was");
}

#[test]
fn other_images_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let message = resume(&run, &["--data", "synthetic:3x1x12x12,train=610,test=1000"]).refusal();
    assert!(message.contains("`data` = ") && message.contains("train=610"), "{message}");
    assert!(message.contains("`digest of the training images`"), "{message}");
}

#[test]
fn a_broken_state_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let state = run.join("state.safetensors");
    let whole = fs::read(&state).unwrap();
    let checkpoint = fs::read(run.join("at.safetensors")).unwrap();
    for (bytes, expected) in [
        (&whole[..whole.len() / 2], "not a valid safetensors file"),
        (b"", "not a valid safetensors file"),
        (&checkpoint, "is not the state of a training"),
    ] {
        fs::write(&state, bytes).unwrap();
        let message = resume(&run, &[]).refusal();
        assert!(message.contains("state.safetensors") && message.contains(expected), "{message}");
        assert_eq!(fs::read(&state).unwrap(), bytes);
    }
}

#[test]
fn a_run_is_not_started_over() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path());
    let message = finish(&mut training(&run, 1)).refusal();
    assert!(message.contains("after epoch 1, of 1") && message.contains("--resume"), "{message}");
}

#[test]
fn an_interval_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["0", "often", "5 weeks", "-1"] {
        let interval = format!("--checkpoint-every={text}");
        let message = resume(folder.path(), &[&interval]).refusal();
        assert!(message.contains(&format!("`{text}`")) && message.contains("10min"), "{message}");
    }
}
