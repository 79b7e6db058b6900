//! TensorBoard itself reads the event files of a training that was killed and resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rift_tests::program::finish;
use rift_tests::small::training;

const EPOCHS: usize = 4;
/// 300 training images in batches of 25.
const STEPS: usize = 12;

/// A training whose states come after every fifth step.
fn command(run: &Path) -> Command {
    let mut command = training(run, EPOCHS as u32);
    command.args(["--batch-size", "25", "--checkpoint-every", "5", "--resume"]);
    command
}

/// Kills a training in its second epoch.
fn killed(run: &Path) {
    let mut child = command(run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count()) < 1 {
        assert!(start.elapsed() < Duration::from_mins(2), "no epoch in two minutes");
        sleep(Duration::from_millis(2));
    }
    sleep(Duration::from_millis(50));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What TensorBoard shows: for each tag the steps and values.
type Shown = BTreeMap<String, Vec<(usize, f64)>>;

/// Asks TensorBoard's reader; `None`, with a note, where the package is not installed.
fn tensorboard(run: &Path) -> Option<Shown> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let python = root.join(".peers/bin/python");
    let has = |python: &Path| {
        let mut import = Command::new(python);
        import.args(["-c", "import tensorboard"]).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    };
    if !has(&python) {
        rift_tests::skipped("no `tensorboard` package in `.peers` (tests/peers/setup.sh)");
        return None;
    }
    let script = root.join("tests/peers/tensorboard_events.py");
    let read = finish(Command::new(&python).arg(script).arg(run)).success();
    Some(serde_json::from_str(&read.stdout).unwrap())
}

#[test]
fn tensorboard_shows_each_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    killed(&run);
    let _ = finish(&mut command(&run)).success();
    let Some(shown) = tensorboard(&run) else { return };
    let steps = |tag: &str| -> Vec<usize> { shown[tag].iter().map(|(step, _)| *step).collect() };
    for tag in ["train/loss", "train/learning_rate", "train/images_per_second"] {
        assert_eq!(steps(tag), [16, 32, 48], "{tag}");
    }
    let ends: Vec<usize> = (1..=EPOCHS).map(|epoch| epoch * STEPS).collect();
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let metrics: Vec<serde_json::Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let share = |key: &str, n: &str| -> Vec<f64> {
        metrics
            .iter()
            .map(|epoch| epoch[key].as_f64().unwrap() / epoch[n].as_f64().unwrap())
            .collect()
    };
    for (tag, expected) in [
        ("epoch/validation_clean", share("validation_clean", "validation_n")),
        ("epoch/validation_robust", share("validation_robust", "validation_n")),
        ("epoch/training_clean", share("training_clean", "training_n")),
        ("epoch/training_robust", share("training_robust", "training_n")),
    ] {
        assert_eq!(steps(tag), ends, "{tag}");
        for ((_, value), expected) in shown[tag].iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{tag}: {value}, expected {expected}");
        }
    }
}
