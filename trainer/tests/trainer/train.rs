//! Training, killing, resuming, judging.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::program::{fail, names, run, succeed, trainer};

const DATA: &str = "synthetic:4x3x16x16,train=400,test=60";

fn arguments(run: &Path) -> Vec<String> {
    let settings = "--arch resnet8 --width 4 --preset quick --epochs 4 --steps 2 \
                    --validation-limit 40 --validation-steps 2 --batch-size 32 --seed 3";
    let mut arguments = vec!["train".to_owned(), "--data".to_owned(), DATA.to_owned()];
    arguments.extend(settings.split_whitespace().map(str::to_owned));
    arguments.extend(["--out".to_owned(), run.display().to_string()]);
    arguments
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Starts a training and kills it with SIGKILL as soon as `epochs` are recorded and a little more
/// has gone by.
fn kill_after(arguments: &[&str], run: &Path, epochs: usize, more: Duration) {
    let mut child = trainer(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while lines(&run.join("metrics.jsonl")) < epochs {
        assert!(start.elapsed() < Duration::from_mins(1), "no epoch within a minute");
        assert!(child.try_wait().unwrap().is_none(), "finished before it was killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(more);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "was killed");
}

#[test]
fn a_killed_training_resumes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let given = arguments(&whole);
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let printed = succeed(&given);
    assert!(printed.contains("best epoch") && printed.contains("pgd-2 linf 8/255"), "{printed}");
    let resumed = arguments(&killed);
    let mut resumed: Vec<&str> = resumed.iter().map(String::as_str).collect();
    resumed.push("--resume");
    // In the middle of the first epoch after the first, and of the one after that.
    for (epochs, more) in [(1, 25), (2, 60)] {
        kill_after(&resumed, &killed, epochs, Duration::from_millis(more));
        assert!(lines(&killed.join("metrics.jsonl")) >= epochs);
    }
    std::fs::write(killed.join(".rift-half"), b"written when it was killed").unwrap();
    // Settings are those of the run: the folder is enough.
    succeed(&["train", "--resume", "--out", killed.to_str().unwrap()]);
    for file in ["at.safetensors", "last.safetensors", "run.toml"] {
        let [a, b] = [&whole, &killed].map(|run| std::fs::read(run.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let text = std::fs::read_to_string(killed.join("metrics.jsonl")).unwrap();
    let epochs: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["epoch"].as_u64())
        .map(Option::unwrap)
        .collect();
    assert_eq!(epochs, [1, 2, 3, 4], "each epoch once");
    // Whatever was half-written had a temporary name, and the resumed training removed it. Each of
    // the three starts has an event file of its own, as TensorBoard wants it.
    let [(files, events), (all_files, all_events)] = [&killed, &whole].map(|run| {
        let events = |name: &String| name.starts_with("events.out.tfevents.");
        let (events, files): (Vec<_>, Vec<_>) = names(run).into_iter().partition(events);
        (files, events.len())
    });
    assert_eq!(files, all_files);
    assert_eq!((events, all_events), (3, 1));
    let again = fail(&given);
    assert!(again.contains("--resume"), "{again}");
}

#[test]
fn judges_a_checkpoint_and_saves_what_it_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = folder.path().join("run");
    let given = arguments(&run_folder);
    let mut given: Vec<&str> = given.iter().map(String::as_str).collect();
    let epochs = given.iter().position(|flag| *flag == "--epochs").unwrap();
    given[epochs + 1] = "1";
    succeed(&given);
    let checkpoint = run_folder.join("at.safetensors").display().to_string();
    let [json, npz] = ["eval.json", "adversarial.npz"].map(|name| folder.path().join(name));
    let [json_text, npz_text] = [&json, &npz].map(|path| path.display().to_string());
    let common = ["eval", "--checkpoint", &checkpoint, "--data", DATA];
    let evaluate = |more: &[&str]| succeed(&[&common[..], more].concat());
    let attack = ["--steps", "3", "--limit", "50", "--json", &json_text];
    let printed = evaluate(&[&attack[..], &["--save-adversarial", &npz_text]].concat());
    assert!(printed.contains("clean (test)") && printed.contains("pgd-3 linf 8/255"), "{printed}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["n"], 50);
    assert!(report["robust"]["correct"].as_u64() <= report["clean"]["correct"].as_u64());
    let mut npz = ndarray_npy::NpzReader::new(std::fs::File::open(&npz).unwrap()).unwrap();
    let x: ndarray::Array4<f32> = npz.by_name("x").unwrap();
    let y: ndarray::Array1<i64> = npz.by_name("y").unwrap();
    assert_eq!((x.dim(), y.len()), ((50, 3, 16, 16), 50));
    assert!(x.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    let other = folder.path().join("other.json").display().to_string();
    evaluate(&["--steps", "3", "--limit", "50", "--json", &other, "--batch-size", "7"]);
    assert_eq!(std::fs::read(&json).unwrap(), std::fs::read(&other).unwrap());
}

#[test]
fn bad_input_is_one_line_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").display().to_string();
    let train = |more: &[&str]| fail(&[&["train", "--out", &out], more].concat());
    let missing = train(&["--data", "/nonexistent", "--arch", "resnet8"]);
    assert!(missing.contains("/nonexistent"), "{missing}");
    let name = train(&["--data", DATA, "--arch", "resnet9"]);
    assert!(name.contains("did you mean `resnet8`?"), "{name}");
    let eps = train(&["--data", DATA, "--arch", "resnet8", "--eps", "2"]);
    assert!(eps.contains("eps `2` is larger"), "{eps}");
    let pad = train(&["--data", DATA, "--arch", "resnet8", "--pad", "16"]);
    assert!(pad.contains("`pad` is 16"), "{pad}");
    let unset = train(&["--data", DATA]);
    assert!(unset.contains("--arch"), "{unset}");
    let gpu = train(&["--data", DATA, "--arch", "resnet8", "--device", "cuda:99"]);
    assert!(gpu.contains("cuda:99"), "{gpu}");
    assert!(names(folder.path()).is_empty());
    let zero = run(&["train", "--out", &out, "--data", DATA, "--arch", "resnet8", "--eps", "8/0"]);
    assert_eq!(zero.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&zero.stderr).contains("a denominator other than 0"));
}
