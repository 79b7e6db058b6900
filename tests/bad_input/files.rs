//! Files that are cut short, hostile, or something else.

use std::fs;
use std::path::Path;

use rift_models::arch::{ArchSpec, init};
use rift_models::artifact::{Digest, Probe};
use rift_tests::Program;
use rift_tests::images::TINY;
use rift_tests::program::finish;
use rift_tests::small::{Trained, random_checkpoint, tiny_arch};

/// What each program that reads checkpoints says of `checkpoint`; nothing is written.
fn refusals(checkpoint: &Path) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let mut eval = Program::Trainer.command(["eval", "--data", TINY]);
    eval.arg("--json").arg(out("eval.json"));
    let mut mrc = Program::Trainer.command(["mrc", "--data", TINY, "--out"]);
    mrc.arg(out("mrc.json"));
    let mut finetune = Program::Trainer.command(["finetune", "--data", TINY, "--scope", "last"]);
    finetune.arg("--out").arg(out("f.safetensors"));
    let mut export = Program::Exporter.command(["export", "--out"]);
    export.arg(out("bundle"));
    let messages = [&mut eval, &mut mrc, &mut finetune, &mut export]
        .map(|command| finish(command.arg("--checkpoint").arg(checkpoint)).refusal());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    messages.to_vec()
}

#[test]
fn a_checkpoint_of_another_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    let mut checkpoint = random_checkpoint(tiny_arch());
    let other = ArchSpec { width: Some(16), ..tiny_arch() }.build().unwrap();
    checkpoint.tensors = init::initialise(&other, 0);
    checkpoint.write(&path).unwrap();
    for message in refusals(&path) {
        assert!(message.contains("`bn1.bias` (expected [8], found [16])"), "{message}");
        assert!(message.contains("more"), "{message}");
    }
}

#[test]
fn two_checkpoints_of_different_architectures() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to, out] = ["a.safetensors", "b.safetensors", "out"].map(|n| folder.path().join(n));
    random_checkpoint(tiny_arch()).write(&from).unwrap();
    random_checkpoint(ArchSpec { width: Some(16), ..tiny_arch() }).write(&to).unwrap();
    let mut command = Program::Trainer.command(["interpolate", "--data", TINY, "--from"]);
    command.arg(&from).arg("--to").arg(&to).arg("--out").arg(&out);
    let _ = finish(&mut command).refusal();
    assert!(!out.exists());
}

#[test]
fn a_truncated_or_hostile_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.safetensors");
    random_checkpoint(tiny_arch()).write(&path).unwrap();
    let good = fs::read(&path).unwrap();
    // A header that claims 2^60 bytes.
    let huge = [(1u64 << 60).to_le_bytes().as_slice(), b"{}"].concat();
    // Two tensors that share bytes.
    let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let overlapping = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &[0; 12]].concat();
    for bytes in [&good[..good.len() - 10], &good[..6], &[], &huge, &overlapping] {
        fs::write(&path, bytes).unwrap();
        for message in refusals(&path) {
            assert!(message.contains("c.safetensors"), "{message}");
        }
    }
    for message in refusals(&folder.path().join("absent.safetensors")) {
        assert!(message.contains("absent.safetensors"), "{message}");
    }
}

#[test]
fn a_probe_of_another_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, probe, bundle] =
        ["c.safetensors", "p.safetensors", "bundle"].map(|name| folder.path().join(name));
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    let images = ndarray::Array4::zeros((1, 1, 12, 12));
    let logits = ndarray::Array2::zeros((1, 3));
    let other = Digest::of_bytes(b"another");
    Probe { images, labels: vec![0], logits, checkpoint: other }.write(&probe).unwrap();
    let mut command = Program::Exporter.command(["export", "--checkpoint"]);
    command.arg(&checkpoint).arg("--probe").arg(&probe).arg("--out").arg(&bundle);
    let _ = finish(&mut command).refusal();
    assert!(!bundle.exists());
}

#[test]
fn models_and_pictures_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Trained::new(folder.path()).bundle;
    let path = |name: &str| folder.path().join(name);
    let refused = |command: &str, arguments: &[&Path]| {
        let message = finish(Program::Runtime.command([command]).args(arguments)).refusal();
        let name = arguments[arguments.len() - 1].file_name().unwrap().to_string_lossy();
        assert!(message.contains(&*name), "{message}");
    };

    // An ONNX file with two inputs and two outputs is no classifier.
    let gradient = path("gradient.onnx");
    let mut command = Program::Runtime.command(["gradient"]);
    let _ = finish(command.arg(&bundle).arg("--out").arg(&gradient)).success();
    refused("info", &[&gradient]);
    fs::write(path("noise.onnx"), [0x8f; 300]).unwrap();
    refused("info", &[&path("noise.onnx")]);
    fs::write(path("empty.onnx"), []).unwrap();
    refused("info", &[&path("empty.onnx")]);
    let model = fs::read(bundle.join("model.onnx")).unwrap();
    fs::write(path("cut.onnx"), &model[..model.len() / 2]).unwrap();
    refused("info", &[&path("cut.onnx")]);
    refused("info", &[&path("absent.onnx")]);

    fs::write(path("corrupt.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0").unwrap();
    refused("classify", &[&bundle, &path("corrupt.png")]);
    fs::write(path("text.jpg"), b"not a picture").unwrap();
    refused("classify", &[&bundle, &path("text.jpg")]);
    refused("classify", &[&bundle, &path("absent.png")]);
}

#[test]
fn a_missing_library_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Trained::new(folder.path()).bundle;
    let absent = folder.path().join("libonnxruntime.so");
    for (program, command) in [(Program::Runtime, "info"), (Program::Exporter, "verify")] {
        let mut command = program.command([command]);
        command.arg(&bundle).env("RIFT_ONNXRUNTIME", &absent);
        let message = finish(&mut command).refusal();
        assert!(message.contains(&absent.display().to_string()), "{message}");
    }
}
