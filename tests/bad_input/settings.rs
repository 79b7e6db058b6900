//! Settings that cannot be meant.

use std::fs::File;
use std::path::Path;

use ndarray::{Array1, Array4};
use ndarray_npy::NpzWriter;
use rift_models::arch::ArchSpec;
use rift_tests::Program;
use rift_tests::images::TINY;
use rift_tests::program::finish;
use rift_tests::small::{random_checkpoint, tiny_arch};

#[test]
fn an_epsilon_without_a_value() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("c.safetensors");
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    let run = folder.path().join("run");
    let mut train = Program::Trainer.command(["train", "--data", TINY, "--arch", "resnet8"]);
    train.args(["--method", "at", "--eps", "8/0", "--out"]).arg(&run);
    let mut eval = Program::Trainer.command(["eval", "--data", TINY, "--eps", "8/0"]);
    eval.arg("--checkpoint").arg(&checkpoint);
    let mut audit = Program::Runtime.command(["audit", "--data", TINY, "--eps", "8/0"]);
    audit.arg(folder.path());
    for command in [&mut train, &mut eval, &mut audit] {
        let message = finish(command).refusal();
        assert!(message.contains("8/0") && message.contains("denominator"), "{message}");
    }
    assert!(!run.exists());
}

#[test]
fn a_module_that_does_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, out] = ["c.safetensors", "f.safetensors"].map(|n| folder.path().join(n));
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    let mut command = Program::Trainer.command(["finetune", "--data", TINY]);
    command.args(["--module", "layer2.0.conv3", "--checkpoint"]).arg(&checkpoint);
    let message = finish(command.arg("--out").arg(&out)).refusal();
    assert!(message.contains("no module `layer2.0.conv3`"), "{message}");
    assert!(message.contains("did you mean `layer2.0.conv"), "{message}");
    assert!(!out.exists());
}

#[test]
fn an_architecture_that_does_not_exist() {
    let mut command = Program::Trainer.command(["train", "--data", TINY, "--arch", "resnet81"]);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let message = finish(command.args(["--method", "at", "--out"]).arg(&run)).refusal();
    assert!(message.contains("resnet81") && message.contains("did you mean `resnet"), "{message}");
    assert!(!run.exists());
}

#[test]
fn images_that_do_not_fit_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("c.safetensors");
    random_checkpoint(ArchSpec::new("resnet8", [3, 32, 32], 10)).write(&checkpoint).unwrap();
    let mut command = Program::Trainer.command(["eval", "--data", TINY, "--checkpoint"]);
    let message = finish(command.arg(&checkpoint)).refusal();
    assert!(message.contains("12") && message.contains("32"), "{message}");
}

#[test]
fn a_flag_and_a_command_that_do_not_exist() {
    for program in Program::ALL {
        for arguments in [["--no-such-flag"], ["no-such-command"]] {
            let message = program.run(arguments).refusal();
            assert!(message.contains(arguments[0]), "{message}");
        }
    }
}

#[test]
fn help_lists_nothing_that_is_not_built() {
    for program in Program::ALL {
        let help = program.run(["--help"]).success().stdout;
        assert!(help.contains("Usage:"), "{help}");
        for word in ["not implemented", "coming soon", "not yet"] {
            assert!(!help.to_lowercase().contains(word), "{help}");
        }
    }
}

/// Trains with these arguments, which are refused, and returns the message.
fn refused<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = Program::Trainer.command(["train", "--data", TINY, "--arch", "resnet8"]);
    let message = finish(command.args(arguments).arg("--out").arg(&run)).refusal();
    assert!(!run.exists(), "`{}` was made", run.display());
    message
}

#[test]
fn presets_and_methods_that_do_not_exist() {
    for (arguments, expected) in [
        (["--preset", "bag-of-tricky"], "bag-of-tricks"),
        (["--method", "madry"], "unknown method `madry`, expected one of `standard`, `at`"),
        (["--inner-loss", "dlr"], "possible values: ce, kl, squared"),
        (["--schedule", "warm"], "unknown schedule `warm`"),
    ] {
        let message = refused(arguments);
        assert!(message.contains(expected), "{message}");
    }
    let message = Program::Trainer.run(["presets", "carlini"]).refusal();
    assert!(message.contains("carlini") && message.contains("wang2023"), "{message}");
}

#[test]
fn settings_that_make_no_sense_together() {
    for (arguments, expected) in [
        ("--method standard --beta 6", "`beta` has no effect with the method `standard`"),
        ("--method standard --eps 8/255", "`eps` has no effect with the method `standard`"),
        ("--method mart --label-smoothing 0.1", "`label_smoothing` has no effect"),
        ("--method fast-at --steps 7", "`steps` is `7`, expected 1"),
        ("--awp-gamma 0.01", "`awp_gamma` has no effect without `awp`"),
        ("--extra-fraction 0.7", "`extra_fraction` has no effect without `extra_data`"),
        ("--eps 1.5 --step 0.1", "eps `1.5` is larger than the box"),
        ("--norm l2 --eps 13 --step 1", "eps `13` is larger than the box"),
    ] {
        let message = refused(arguments.split(' '));
        assert!(message.contains(expected), "{arguments}: {message}");
    }
}

/// An archive of four images of bytes, as published sets of generated images are.
fn generated(folder: &Path, side: usize, labels: [i64; 4]) -> String {
    let path = folder.join("generated.npz");
    let mut archive = NpzWriter::new(File::create(&path).unwrap());
    archive.add_array("image", &Array4::<u8>::from_elem((4, side, side, 1), 9)).unwrap();
    archive.add_array("label", &Array1::from(labels.to_vec())).unwrap();
    archive.finish().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn extra_images_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let wide = generated(folder.path(), 16, [0, 1, 2, 0]);
    let message = refused(["--extra-data", &wide]);
    assert!(message.contains("[1, 16, 16]") && message.contains("[1, 12, 12]"), "{message}");
    let strange = generated(folder.path(), 12, [0, 1, 3, 0]);
    let message = refused(["--extra-data", &strange]);
    assert!(message.contains("label 3") && message.contains("3 classes"), "{message}");
    let folder = folder.path().to_str().unwrap();
    let message = refused(["--extra-data", folder]);
    assert!(message.contains("expected an archive `.npz`"), "{message}");
}
