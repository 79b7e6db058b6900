//! A training that is killed goes on from its last epoch and ends as if nothing had been.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rift_models::artifact::Checkpoint;
use rift_tests::program::finish;
use rift_tests::small::training;

const EPOCHS: u32 = 5;

/// The epochs that are recorded.
fn epochs(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Waits until two epochs are done, then kills the trainer in the middle of the third.
fn kill_in_mid_epoch(child: &mut Child, run: &Path) {
    let start = Instant::now();
    while epochs(run) < 2 {
        assert!(start.elapsed() < Duration::from_mins(2), "no two epochs in two minutes");
        assert!(child.try_wait().unwrap().is_none(), "the training ended before it was killed");
        sleep(Duration::from_millis(2));
    }
    sleep(Duration::from_millis(30));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((2..EPOCHS as usize).contains(&epochs(run)), "it was killed too late");
}

#[test]
fn a_killed_training_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let _ = finish(&mut training(&whole, EPOCHS)).success();

    let mut child =
        training(&killed, EPOCHS).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    kill_in_mid_epoch(&mut child, &killed);
    let done = epochs(&killed);
    let resumed = finish(training(&killed, EPOCHS).arg("--resume")).success();
    assert_eq!(epochs(&killed), EPOCHS as usize, "after {done}: {}", resumed.stderr);

    let [whole, killed] = [whole, killed].map(|run| {
        let (checkpoint, _, _) = Checkpoint::read(&run.join("last.safetensors")).unwrap();
        checkpoint.tensors
    });
    assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>());
    for (name, tensor) in &whole {
        assert_eq!(tensor, &killed[name], "`{name}` differs");
    }
}
