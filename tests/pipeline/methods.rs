//! The ways to train, from the command line to the checkpoint.

use std::fs::File;
use std::path::Path;

use ndarray::{Array1, Array4};
use ndarray_npy::NpzWriter;
use rift_tests::Program;
use rift_tests::images::{TINY, TINY_ARCH};
use rift_tests::program::finish;

/// Trains for an epoch and returns the resolved settings.
fn trained(arguments: &str, run: &Path) -> String {
    let mut command = Program::Trainer.command(["train", "--preset", "quick", "--data", TINY]);
    command.args(TINY_ARCH).args(["--epochs", "1", "--limit", "200", "--threads", "1"]);
    command.args(["--validation-limit", "40"]).args(arguments.split_whitespace());
    let _ = finish(command.arg("--out").arg(run)).success();
    assert!(run.join("at.safetensors").exists());
    std::fs::read_to_string(run.join("run.toml")).unwrap()
}

#[test]
fn every_method_trains() {
    let folder = tempfile::tempdir().unwrap();
    for (place, (arguments, expected)) in [
        ("--method trades --steps 1", "beta = 6.0"),
        ("--method mart --steps 1 --awp", "awp_gamma = 0.01"),
        ("--method score --steps 1 --beta 4", "loss_clip = 0.3"),
        ("--method fast-at --ema 0.9 --clip-gradient 1", "step = \"10/255\""),
    ]
    .into_iter()
    .enumerate()
    {
        let settings = trained(arguments, &folder.path().join(place.to_string()));
        assert!(settings.contains(expected), "{arguments}: {settings}");
    }
}

#[test]
fn generated_images_are_mixed_in_and_belong_to_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("generated.npz");
    let write = |value: u8| {
        let mut writer = NpzWriter::new(File::create(&archive).unwrap());
        writer.add_array("image", &Array4::<u8>::from_elem((9, 12, 12, 1), value)).unwrap();
        writer.add_array("label", &Array1::from(vec![0i64, 1, 2, 0, 1, 2, 0, 1, 2])).unwrap();
        writer.finish().unwrap();
    };
    write(9);
    let run = folder.path().join("run");
    let extra = format!("--method standard --extra-data {}", archive.display());
    let settings = trained(&extra, &run);
    assert!(settings.contains("extra_fraction = 0.7"), "{settings}");
    let mut resume = Program::Trainer.command(["train", "--resume", "--out"]);
    let _ = finish(resume.arg(&run)).success();
    write(8);
    let mut other = Program::Trainer.command(["train", "--resume", "--out"]);
    let message = finish(other.arg(&run)).refusal();
    assert!(message.contains("digest of the training images"), "{message}");
}

#[test]
fn presets_are_listed_and_printed_as_files_that_train_reads() {
    let list = Program::Trainer.run(["presets"]).success().stdout;
    for name in
        ["rift-paper", "quick", "trades", "mart", "score", "awp", "bag-of-tricks", "wang2023"]
    {
        assert!(list.lines().any(|line| line.starts_with(name)), "{name}: {list}");
    }
    let text = Program::Trainer.run(["presets", "wang2023"]).success().stdout;
    assert!(text.starts_with("# TRADES on images of a diffusion model"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("mine.toml");
    std::fs::write(&config, text).unwrap();
    let arguments = format!("--config {} --batch-size 32 --steps 1", config.display());
    let settings = trained(&arguments, &folder.path().join("run"));
    assert!(settings.contains("craft_mode = \"train\""), "{settings}");
}
