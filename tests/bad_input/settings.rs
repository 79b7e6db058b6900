//! Settings that cannot be meant.

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
