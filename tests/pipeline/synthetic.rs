//! On images that are made up, so that it runs anywhere.

use std::path::Path;

use rift_models::artifact::{Card, Digest, read_json};
use rift_tests::Program;
use rift_tests::images::{TINY, TINY_ARCH};
use rift_tests::program::finish;

use crate::stages::Pipeline;

fn pipeline(folder: &Path) -> Pipeline<'_> {
    Pipeline { data: Path::new(TINY), arch: &TINY_ARCH, limit: "200", folder }
}

#[test]
fn from_images_to_audit() {
    let folder = tempfile::tempdir().unwrap();
    let report = pipeline(folder.path()).run();
    assert_eq!(report.n, 200);
    // The lineage leads from the bundle back to the images.
    let card: Card = read_json(&folder.path().join("bundle/card.json"), "card").unwrap();
    let json = serde_json::to_string(&card.lineage).unwrap();
    let at = Digest::of_file(&folder.path().join("train/at.safetensors")).unwrap();
    assert!(json.contains(at.as_str()), "the bundle does not name the first checkpoint: {json}");
}

#[test]
fn the_three_stages_together_do_what_they_do_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = pipeline(folder.path()).train();
    let out = folder.path().join("rift");
    let mut command = Program::Trainer.command(["rift", "--data", TINY, "--limit", "200"]);
    command.args(["--steps", "2", "--alphas", "0,1", "--epochs", "1", "--mrc-limit", "100"]);
    command.arg("--checkpoint").arg(&at).arg("--out").arg(&out);
    let _ = finish(&mut command).success();
    for name in
        ["mrc.json", "finetuned.safetensors", "sweep.json", "rift.safetensors", "probe.safetensors"]
    {
        assert!(out.join(name).is_file(), "`{name}` is missing");
    }
    let mut command = Program::Exporter.command(["export", "--checkpoint"]);
    command.arg(out.join("rift.safetensors")).arg("--out").arg(folder.path().join("bundle"));
    let _ = finish(&mut command).success();
}

#[test]
fn a_bundle_classifies_pictures_and_gives_its_gradient() {
    let folder = tempfile::tempdir().unwrap();
    let trained = rift_tests::small::Trained::new(folder.path());
    let picture = folder.path().join("grey.pgm");
    std::fs::write(&picture, [b"P5 30 20 255\n".as_slice(), &[90; 600]].concat()).unwrap();
    let mut command = Program::Runtime.command(["classify", "--top", "2"]);
    let classified = finish(command.arg(&trained.bundle).arg(&picture)).success();
    assert!(classified.stdout.contains("grey.pgm"), "{}", classified.stdout);

    let gradient = folder.path().join("gradient.onnx");
    let mut command = Program::Runtime.command(["gradient"]);
    let _ = finish(command.arg(&trained.bundle).arg("--out").arg(&gradient)).success();
    let bytes = std::fs::read(&gradient).unwrap();
    for name in ["cotangent", "input_gradient", "logits"] {
        let found = bytes.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(found, "the gradient model has no `{name}`");
    }
    let _ = finish(Program::Runtime.command(["info"]).arg(&trained.bundle)).success();
}

#[test]
fn an_audit_that_misses_its_threshold_says_no() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = rift_tests::small::Trained::new(folder.path()).bundle;
    for (threshold, code) in [("0.0", 0), ("1.0", 1)] {
        let mut command = Program::Runtime.command(["audit", "--data", TINY, "--limit", "50"]);
        command.args(["--eps", "64/255", "--step", "16/255", "--steps", "3"]).arg(&bundle);
        let finished = finish(command.args(["--min-robust-accuracy", threshold]));
        assert_eq!(finished.code, Some(code), "{}{}", finished.stdout, finished.stderr);
    }
}

#[test]
fn a_changed_model_is_no_bundle_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = rift_tests::small::Trained::new(folder.path()).bundle;
    let model = bundle.join("model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    // The exporter was asked whether the bundle holds; the runtime was to use it.
    let verified = finish(Program::Exporter.command(["verify"]).arg(&bundle));
    assert_eq!(verified.code, Some(1), "{}", verified.stderr);
    assert!(verified.stdout.contains("does not hold"), "{}", verified.stdout);
    let message = finish(Program::Runtime.command(["info"]).arg(&bundle)).refusal();
    assert!(message.contains("model.onnx` was changed"), "{message}");
}
