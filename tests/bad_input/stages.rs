//! What the stages after training refuse.

use std::path::Path;
use std::process::Command;

use rift_models::arch::ArchSpec;
use rift_tests::Program;
use rift_tests::images::TINY;
use rift_tests::program::finish;
use rift_tests::small::{random_checkpoint, tiny_arch};

/// A stage on a checkpoint, writing into `out`.
fn stage(name: &str, data: &str, checkpoint: &Path, out: &Path) -> Command {
    let mut command = Program::Trainer.command([name, "--data", data, "--checkpoint"]);
    command.arg(checkpoint).arg("--out").arg(out);
    command
}

#[test]
fn a_module_without_weights() {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, out] = ["c.safetensors", "out"].map(|name| folder.path().join(name));
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    for name in ["finetune", "rift"] {
        for module in ["layer1.0.relu1", "bn1"] {
            let mut command = stage(name, TINY, &checkpoint, &out);
            let message = finish(command.args(["--module", module])).refusal();
            let expected = format!("`{module}` has no weights that could move");
            assert!(message.contains(&expected), "{message}");
        }
    }
    assert!(!out.exists());
}

#[test]
fn an_empty_validation_split() {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, out] = ["c.safetensors", "out"].map(|name| folder.path().join(name));
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    // One training image leaves none to choose by.
    let one = TINY.split(',').next().unwrap();
    let data = format!("{one},train=1,test=3");
    let mut finetune = stage("finetune", &data, &checkpoint, &out);
    finetune.args(["--module", "linear"]);
    let mut interpolate = Program::Trainer.command(["interpolate", "--data", &data]);
    interpolate.arg("--from").arg(&checkpoint).arg("--to").arg(&checkpoint);
    interpolate.arg("--out").arg(&out);
    let [mut rift, mut ablate] =
        ["rift", "ablate"].map(|name| stage(name, &data, &checkpoint, &out));
    for command in [&mut finetune, &mut interpolate, &mut rift, &mut ablate] {
        let message = finish(command).refusal();
        assert!(message.contains("validation"), "{message}");
    }
    assert!(!out.exists());
}

#[test]
fn checkpoints_of_different_architectures() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to, out] = ["a.safetensors", "b.safetensors", "out"].map(|n| folder.path().join(n));
    random_checkpoint(tiny_arch()).write(&from).unwrap();
    random_checkpoint(ArchSpec { name: "resnet20".to_owned(), ..tiny_arch() }).write(&to).unwrap();
    let mut command = Program::Trainer.command(["interpolate", "--data", TINY, "--from"]);
    command.arg(&from).arg("--to").arg(&to).arg("--out").arg(&out);
    let message = finish(&mut command).refusal();
    assert!(message.contains("different networks") && message.contains("resnet20"), "{message}");
    assert!(!out.exists());
}

#[test]
fn settings_that_contradict_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, out] = ["c.safetensors", "out"].map(|name| folder.path().join(name));
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    for (name, flags, expected) in [
        ("rift", &["--alphas", "0,1.3"][..], "needs `--extrapolate`"),
        ("rift", &["--extrapolate"], "found `0,0.1..1`"),
        ("rift", &["--seeds", "0,0,0"], "found 0 more than once"),
        ("rift", &["--search", "0.1x2", "--lr", "0.1"], "--lr"),
        ("rift", &["--search", "fast"], "such as `0.001x10"),
        ("rift", &["--seed", "1", "--seeds", "1,2"], "--seeds"),
        ("rift", &["--module", "linear", "--top", "2"], "--top"),
        ("rift", &["--ascent", "steepest"], "`reference`"),
        ("finetune", &["--module", "linear", "--top", "2"], "`--mrc` names"),
        ("ablate", &["--rows", "first"], "no row `first`"),
    ] {
        let message = finish(stage(name, TINY, &checkpoint, &out).args(flags)).refusal();
        assert!(message.contains(expected), "{flags:?}: {message}");
    }
}

#[test]
fn published_weights_that_were_not_imported() {
    let folder = tempfile::tempdir().unwrap();
    let published = folder.path().join("published.pth");
    std::fs::write(&published, b"PK\x03\x04 and more").unwrap();
    let out = folder.path().join("out");
    let message = finish(&mut stage("rift", TINY, &published, &out)).refusal();
    assert!(message.contains("rift-trainer import"), "{message}");
    assert!(!out.exists());
}
