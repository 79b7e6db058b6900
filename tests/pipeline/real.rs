//! On slices of real images, where they are on this machine.

use std::path::Path;

use ndarray::Axis;
use rift_models::artifact::{Accuracy, read_json};
use rift_models::dataset::{Dataset, Request, Split};
use rift_tests::Program;
use rift_tests::images::shared;
use rift_tests::program::finish;

use crate::stages::Pipeline;

fn run(data: &Path, limit: &str) {
    let folder = tempfile::tempdir().unwrap();
    let arch = ["--arch", "resnet8", "--width", "8"];
    let pipeline = Pipeline { data, arch: &arch, limit, folder: folder.path() };
    assert_eq!(pipeline.run().n.to_string(), limit);
}

#[test]
fn cifar10_in_parquet_from_images_to_audit() {
    let Some(data) = shared("cifar10") else { return };
    run(&data, "100");
}

#[test]
fn cifar100_in_binary_from_images_to_audit() {
    let Some(data) = shared("cifar-100-binary") else { return };
    run(&data, "100");
}

#[test]
fn tiny_imagenet_from_images_to_audit() {
    let Some(data) = shared("tiny-imagenet-200") else { return };
    run(&data, "50");
}

#[test]
fn cifar10_has_the_statistics_that_its_readme_gives() {
    let Some(data) = shared("cifar10") else { return };
    let data = Dataset::open(&data, &Request::new(Split::Test)).unwrap();
    assert_eq!((data.len(), data.input()), (10_000, [3, 32, 32]));
    let pixels = data.batch(0..data.len()).mapv(f64::from);
    let [mean, std] = [[0.4942, 0.4851, 0.4504], [0.2467, 0.2429, 0.2616]];
    for (channel, values) in pixels.axis_iter(Axis(1)).enumerate() {
        let values: Vec<f64> = values.iter().copied().collect();
        let n = values.len() as f64;
        let found = values.iter().sum::<f64>() / n;
        let spread = (values.iter().map(|v| (v - found).powi(2)).sum::<f64>() / n).sqrt();
        assert!((found - mean[channel]).abs() < 5e-5, "channel {channel}: mean {found}");
        assert!((spread - std[channel]).abs() < 5e-5, "channel {channel}: deviation {spread}");
    }
}

#[test]
fn tiny_imagenets_validation_labels_are_right() {
    let Some(data) = shared("tiny-imagenet-200") else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = Program::Trainer.command(["train", "--method", "standard", "--data"]);
    command.arg(&data).args(["--arch", "resnet8", "--epochs", "3", "--out"]).arg(&run);
    let _ = finish(&mut command).success();
    let json = folder.path().join("eval.json");
    let mut command = Program::Trainer.command(["eval", "--attack", "none", "--split", "test"]);
    command.arg("--data").arg(&data).arg("--json").arg(&json);
    let checkpoint = run.join("at.safetensors");
    let _ = finish(command.arg("--checkpoint").arg(checkpoint)).success();
    let report: serde_json::Value = read_json(&json, "evaluation").unwrap();
    let accuracy: Accuracy = serde_json::from_value(report["clean"].clone()).unwrap();
    // Chance is 1 of 200; a loader that takes the folder for the class scores less.
    assert_eq!(accuracy.n, 1000);
    assert!(accuracy.interval.lower > 0.005, "{accuracy}");
}
