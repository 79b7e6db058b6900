//! A device that audits itself does not phone home: no program leaves ONNX Runtime's telemetry files.
//!
//! From 1.29 on, official builds of ONNX Runtime write `~/.cache/Microsoft/DeveloperTools/…` and send
//! what is in it, unless told not to before they start. Where `CI` is set they do not, so the tests
//! take it away.

#![expect(clippy::unwrap_used, reason = "a test says what it expects with `unwrap`")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rift_tests::Program;
use rift_tests::images::TINY;
use rift_tests::program::finish;
use rift_tests::small::Trained;

/// Variables that ONNX Runtime takes as a sign of an automatic build, and its own switch.
const SILENCERS: [&str; 8] = [
    "CI",
    "GITHUB_ACTIONS",
    "TF_BUILD",
    "TEAMCITY_VERSION",
    "TRAVIS",
    "APPVEYOR",
    "CIRCLECI",
    "ORT_DISABLE_TELEMETRY",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}

/// Runs a command with a home of its own and expects nothing in it.
fn leaves_nothing(command: &mut Command) {
    let home = tempfile::tempdir().unwrap();
    for variable in SILENCERS {
        command.env_remove(variable);
    }
    for (variable, _) in std::env::vars_os() {
        // Where else files of an application go.
        if variable.to_string_lossy().starts_with("XDG_") {
            command.env_remove(variable);
        }
    }
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    let _ = finish(command).success();
    assert_eq!(files(home.path()), Vec::<PathBuf>::new(), "{command:?}");
}

#[test]
fn no_command_leaves_a_file_of_telemetry() {
    let folder = tempfile::tempdir().unwrap();
    let trained = Trained::new(folder.path());
    let bundle = &trained.bundle;
    let rift = folder.path().join("sweep").join("rift.safetensors");
    let picture = folder.path().join("picture.pgm");
    std::fs::write(&picture, [b"P5 12 12 255\n".as_slice(), &[128; 144]].concat()).unwrap();

    leaves_nothing(
        Program::Trainer
            .command(["eval", "--data", TINY, "--limit", "50"])
            .args(["--steps", "1", "--checkpoint"])
            .arg(&trained.checkpoint),
    );
    leaves_nothing(
        Program::Exporter
            .command(["export", "--checkpoint"])
            .arg(rift)
            .arg("--out")
            .arg(folder.path().join("again")),
    );
    leaves_nothing(Program::Exporter.command(["verify"]).arg(bundle));
    leaves_nothing(Program::Runtime.command(["info"]).arg(bundle));
    leaves_nothing(Program::Runtime.command(["classify"]).arg(bundle).arg(picture));
    leaves_nothing(
        Program::Runtime
            .command(["gradient"])
            .arg(bundle)
            .arg("--out")
            .arg(folder.path().join("gradient.onnx")),
    );
    leaves_nothing(
        Program::Runtime
            .command(["audit"])
            .arg(bundle)
            .args(["--data", TINY, "--limit", "20", "--steps", "2", "--eps", "8/255"]),
    );
}
