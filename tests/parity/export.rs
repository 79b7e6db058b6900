//! Reference networks as ONNX files, run by ONNX Runtime, against PyTorch's logits.

use rift_models::artifact::{Card, read_json};
use rift_tests::Program;
use rift_tests::golden::Golden;
use rift_tests::program::finish;

/// The exporter holds its model against the probe; here the probe's logits are PyTorch's own.
fn exports(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, probe, bundle] = ["checkpoint.safetensors", "probe.safetensors", "bundle"]
        .map(|name| folder.path().join(name));
    let golden = Golden::read(name);
    let largest = golden.logits.iter().fold(0.0f32, |largest, logit| largest.max(logit.abs()));
    golden.write(folder.path()).unwrap();

    // Formula weights give logits of any size, so the tolerance is relative to the largest.
    let tolerance = (1e-5 * largest).to_string();
    let mut command = Program::Exporter.command(["export", "--tolerance", &tolerance]);
    command.arg("--checkpoint").arg(&checkpoint).arg("--probe").arg(&probe);
    let _ = finish(command.arg("--out").arg(&bundle)).success();

    let card: Card = read_json(&bundle.join("card.json"), "card").unwrap();
    println!("{name}: {:.1e} of {largest:.1e}", card.parity.max_abs_difference);
    assert!(card.parity.holds() && card.parity.max_abs_difference > 0.0);
    let mut command = Program::Exporter.command(["verify", "--tolerance", &tolerance]);
    let _ = finish(command.arg(&bundle)).success();
}

#[test]
fn resnet20_is_exported_as_pytorch_computes_it() {
    exports("resnet20");
}

#[test]
fn resnet18_is_exported_as_pytorch_computes_it() {
    exports("resnet18");
}

#[test]
fn resnet18_for_larger_images_is_exported_as_pytorch_computes_it() {
    exports("resnet18-64");
}

#[test]
fn preactresnet18_is_exported_as_pytorch_computes_it() {
    exports("preactresnet18");
}

#[test]
fn preactresnet18_of_fast_adversarial_training_is_exported_as_pytorch_computes_it() {
    exports("preactresnet18-fast-at");
}

#[test]
fn wrn34_10_is_exported_as_pytorch_computes_it() {
    exports("wrn34-10");
}

#[test]
fn a_probe_that_disagrees_is_no_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, probe, bundle] = ["checkpoint.safetensors", "probe.safetensors", "bundle"]
        .map(|name| folder.path().join(name));
    let mut golden = Golden::read("resnet20");
    golden.logits[[1, 3]] += 1.0;
    golden.write(folder.path()).unwrap();
    let mut command = Program::Exporter.command(["export", "--checkpoint"]);
    command.arg(&checkpoint).arg("--probe").arg(&probe).arg("--out").arg(&bundle);
    let finished = finish(&mut command);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.starts_with("error: "), "{}", finished.stderr);
    assert!(!bundle.exists());
}
