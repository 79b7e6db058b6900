//! A disk that is full.

use std::fs;
use std::path::Path;
use std::process::Command;

use rift_tests::Program;
use rift_tests::images::TINY;
use rift_tests::program::{Finished, finish};
use rift_tests::small::{Trained, random_checkpoint, tiny_arch, training};

/// Runs a command whose files may not grow beyond 8 KiB, which fails a write as a full disk does.
fn with_little_room(command: &Command) -> Finished {
    // The signal is ignored, so that the write itself fails.
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash"]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    finish(&mut limited)
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_checkpoint_that_does_not_fit_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, out] = ["c.safetensors", "out"].map(|name| folder.path().join(name));
    fs::create_dir(&out).unwrap();
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    let target = out.join("f.safetensors");
    fs::write(&target, b"what was there").unwrap();
    let mut command = Program::Trainer.command(["finetune", "--data", TINY, "--scope", "last"]);
    command.args(["--epochs", "1", "--checkpoint"]).arg(&checkpoint).arg("--out").arg(&target);
    let message = with_little_room(&command).refusal();
    assert!(message.contains("cannot write") && message.contains("f.safetensors"), "{message}");
    assert_eq!(names(&out), ["f.safetensors"]);
    assert_eq!(fs::read(&target).unwrap(), b"what was there");
}

#[test]
fn a_result_is_printed_also_where_its_json_finds_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("c.safetensors");
    random_checkpoint(tiny_arch()).write(&checkpoint).unwrap();
    let flags = ["eval", "--data", TINY, "--limit", "9", "--attack", "none", "--json", "/dev/full"];
    let mut command = Program::Trainer.command(flags);
    let finished = finish(command.arg("--checkpoint").arg(&checkpoint));
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("cannot write `/dev/full`"), "{}", finished.stderr);
    assert!(finished.stdout.starts_with("clean (test) "), "{}", finished.stdout);
}

#[test]
fn a_bundle_that_does_not_fit_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let _ = Trained::new(folder.path());
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let mut command = Program::Exporter.command(["export", "--checkpoint"]);
    command.arg(folder.path().join("sweep/rift.safetensors")).arg("--out").arg(out.join("b"));
    let message = with_little_room(&command).refusal();
    assert!(message.contains("cannot write"), "{message}");
    assert_eq!(names(&out), Vec::<String>::new());
}

#[test]
fn an_audit_that_does_not_fit_leaves_what_it_has_done_and_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Trained::new(folder.path()).bundle;
    let [out, other] = ["out", "other"].map(|name| folder.path().join(name));
    fs::create_dir(&out).unwrap();
    let audit = |out: &Path| {
        let mut command = Program::Runtime.command(["audit", "--data", TINY, "--steps", "1"]);
        command.args(["--eps", "8/255", "--limit", "300", "--no-timing"]).arg(&bundle);
        command.arg("--json").arg(out.join("audit.json"));
        command
    };
    let finished = with_little_room(&audit(&out));
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    let message = finished.stderr;
    assert!(message.contains("cannot keep the audit's state in"), "{message}");
    assert!(message.contains("File too large"), "{message}");
    assert_eq!(names(&out), ["audit.json.state"]);
    // With room, the same command goes on from there and ends as if nothing had been.
    let _ = finish(&mut audit(&out)).success();
    let _ = finish(&mut audit(&other)).success();
    assert_eq!(names(&out), ["audit.json"]);
    let [resumed, whole] = [&out, &other].map(|out| fs::read(out.join("audit.json")).unwrap());
    assert!(resumed == whole);
}

#[test]
fn a_training_that_never_finds_room_says_so_and_ends_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let finished = with_little_room(&training(&run, 2));
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let warnings = lines.iter().filter(|line| line.contains("the training goes on")).count();
    assert!(warnings >= 2, "one at each try: {}", finished.stderr);
    let last = lines.last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("at.safetensors"), "{last}");
    assert!(last.contains("File too large"), "the reason: {last}");
    assert!(!names(&run).iter().any(|name| name.contains("safetensors")), "{:?}", names(&run));
}
