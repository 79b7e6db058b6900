//! A training that is told to stop finishes its step, says how to go on, and goes on.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rift_tests::Program;
use rift_tests::images::{TINY, TINY_ARCH};
use rift_tests::program::finish;
use rift_tests::small::training;

const EPOCHS: u32 = 3;

/// Sends a signal by its name.
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "the training ended before it was told to stop");
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a file of a running training is another than `before`.
fn wait_for(child: &mut Child, file: &Path, before: Option<&[u8]>) {
    let start = Instant::now();
    while fs::read(file).ok().as_deref() == before {
        assert!(start.elapsed() < Duration::from_mins(2), "`{}` stays", file.display());
        assert!(child.try_wait().unwrap().is_none(), "the training ended by itself");
        sleep(Duration::from_millis(1));
    }
}

/// Exit code, standard output and standard error.
fn ended(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (status.code(), out, err)
}

#[test]
fn a_stopped_training_goes_on_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let _ = finish(&mut training(&whole, EPOCHS)).success();
    let state = stopped.join("state.safetensors");
    let mut child = start(training(&stopped, EPOCHS).args(["--checkpoint-every", "1"]));
    let mut before = None;
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        wait_for(&mut child, &state, before.as_deref());
        signal(&child, name);
        let (found, out, err) = ended(child);
        assert_eq!(found, Some(code), "{name}: {err}");
        assert_eq!(out, "", "there is no result");
        let line = err.lines().last().unwrap_or_default();
        assert!(line.starts_with("stopped after") && line.contains("--resume --out"), "{err}");
        before = fs::read(&state).ok();
        // The settings are in the folder, so this is all it takes to go on.
        let mut resumed =
            Program::Trainer.command(["train", "--resume", "--checkpoint-every", "1"]);
        child = start(resumed.arg("--out").arg(&stopped));
    }
    let (code, _, err) = ended(child);
    assert_eq!(code, Some(0), "{err}");
    for file in ["at.safetensors", "last.safetensors"] {
        let [a, b] = [&whole, &stopped].map(|run| fs::read(run.join(file)).unwrap());
        assert!(a == b, "`{file}` differs");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // Its first step would take an hour.
    let mut command = Program::Trainer.command(["train", "--data", TINY, "--steps", "1000000"]);
    command.args(TINY_ARCH).args(["--eps", "8/255", "--step", "1/255000", "--out"]).arg(&run);
    let mut child = start(&mut command);
    wait_for(&mut child, &run.join("run.toml"), None);
    signal(&child, "TERM");
    sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the first signal waits for the step");
    signal(&child, "TERM");
    let (code, _, err) = ended(child);
    assert_eq!(code, Some(143), "{err}");
    assert!(!run.join("state.safetensors").exists());
}
