//! What a training says of itself, on the terminal and in its folder.

use std::fs;

use rift_models::artifact::read_json;
use rift_tests::program::finish;
use rift_tests::small::training;
use serde_json::Value;

#[test]
fn a_training_says_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let [run, json] = ["run", "train.json"].map(|name| folder.path().join(name));
    let finished = finish(training(&run, 2).arg("--json").arg(&json)).success();
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "a log has a line an epoch: {lines:?}");
    assert!(lines[0].starts_with("epoch 1/2: loss") && lines[1].starts_with("epoch 2/2: loss"));
    for row in ["best epoch", "clean (validation)", "pgd-10 linf 8/255", "time", "checkpoint"] {
        assert!(finished.stdout.contains(row), "`{row}`: {}", finished.stdout);
    }
    let report: Value = read_json(&json, "report").unwrap();
    assert!(report["seconds"].as_f64().unwrap() > 0.0);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let metrics: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for epoch in &metrics {
        let count = |key: &str| epoch[key].as_u64().unwrap();
        assert!(count("training_n") == 300 && count("validation_n") == 300, "{epoch}");
        assert!(count("training_clean") >= count("training_robust"), "{epoch}");
        assert!(count("validation_clean") >= count("validation_robust"), "{epoch}");
        assert!(epoch["learning_rate"].as_f64().unwrap() > 0.0, "{epoch}");
    }
    let svg = fs::read_to_string(run.join("training.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    let settings = fs::read_to_string(run.join("run.toml")).unwrap();
    assert!(settings.contains("epochs = 2") && settings.contains("monitor_limit = 500"));
}

#[test]
fn a_quiet_training_shows_its_result_only() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let finished = finish(training(&run, 1).arg("--quiet")).success();
    assert_eq!(finished.stderr, "");
    assert!(finished.stdout.contains("best epoch"), "{}", finished.stdout);
}
