//! A training that is killed again and again ends as if nothing had been.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rift_tests::program::finish;
use rift_tests::small::training;

const EPOCHS: u32 = 6;
const KILLS: usize = 50;

/// A training of small steps that judges little.
fn small_steps(run: &Path) -> Command {
    let mut command = training(run, EPOCHS);
    command.args(["--batch-size", "10", "--resume"]);
    command.args(["--validation-limit", "20", "--validation-steps", "1", "--monitor-limit", "10"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Numbers from 0 to below 1 that look random and are the same every time (Weyl's sequence).
fn spread(index: usize) -> f64 {
    (index as f64 * 0.618_033_988_749_895).fract()
}

fn state(run: &Path) -> Option<Vec<u8>> {
    fs::read(run.join("state.safetensors")).ok()
}

/// Waits until the training has written its next state; `false` if it has ended.
fn next_state(child: &mut Child, run: &Path) -> bool {
    let (start, before) = (Instant::now(), state(run));
    while state(run) == before {
        assert!(start.elapsed() < Duration::from_mins(2), "no state in two minutes");
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    true
}

/// Kills the training: most of the time within the steps after its next state, so that it gets on
/// however slow the machine is, and at times while it starts.
fn kill(mut child: Child, run: &Path, number: usize) {
    if number % 5 == 4 {
        sleep(Duration::from_secs_f64(spread(number)));
    } else if next_state(&mut child, run) {
        sleep(Duration::from_secs_f64(0.03 * spread(number)));
    }
    // It may have ended by itself; then there is nothing to kill.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Whether every record of an event file is as long as it says, the last one too.
fn is_whole(mut events: &[u8]) -> bool {
    while let Some(length) = events.first_chunk() {
        let Some(rest) = events.get(u64::from_le_bytes(*length) as usize + 16..) else {
            return false;
        };
        events = rest;
    }
    events.is_empty()
}

/// Trains what is left, and holds the result against that of the training that was not killed.
fn end_and_compare(killed: &Path, whole: &Path) {
    assert!(small_steps(killed).status().unwrap().success());
    for file in ["at.safetensors", "last.safetensors"] {
        let [a, b] = [whole, killed].map(|run| fs::read(run.join(file)).unwrap());
        assert!(a == b, "`{file}` differs");
    }
    for entry in fs::read_dir(killed).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.starts_with(".rift-"), "`{name}` is left over");
        assert!(!name.contains("tfevents") || is_whole(&fs::read(&path).unwrap()), "`{name}`");
    }
    fs::remove_dir_all(killed).unwrap();
}

#[test]
fn fifty_kills_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    assert!(small_steps(&whole).status().unwrap().success());
    let mut resumed = 0;
    for number in 0..KILLS {
        // On a fast machine the training ends before all kills are done; then the next one begins.
        if killed.join("last.safetensors").exists() {
            end_and_compare(&killed, &whole);
        }
        resumed += usize::from(state(&killed).is_some());
        let child = small_steps(&killed).args(["--checkpoint-every", "1"]).spawn().unwrap();
        kill(child, &killed, number);
    }
    end_and_compare(&killed, &whole);
    assert!(resumed > KILLS / 2, "only {resumed} of {KILLS} began where another was killed");
}

#[test]
fn a_kill_before_the_first_state_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut child = training(&run, 1).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !run.join("run.toml").exists() {
        assert!(start.elapsed() < Duration::from_mins(2), "no settings in two minutes");
        sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let _ = finish(training(&run, 1).arg("--resume")).success();
}
