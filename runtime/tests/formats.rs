//! The report in the forms that other programs read, from the program.

use std::fs;

use serde_json::Value;

use super::small_models::{conv_net, linear_net};
use super::{DATA, Ended, Place, audit};

fn document(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn standard_output_is_the_document_alone() {
    let place = Place::with(&conv_net(None));
    let least = ["--min-robust-accuracy", "1", "--junit", "a.xml", "--json", "a.json"];
    let ended = place.run(&audit(&[&least[..], &["--format", "sarif"]].concat()));
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("too low") && ended.err.lines().count() == 1, "{}", ended.err);
    let log = document(&ended);
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(
        (&results[0]["ruleId"], &results[0]["level"]),
        (&"min-robust-accuracy".into(), &"error".into())
    );
    assert!(results.iter().any(|result| result["ruleId"] == "model"));
    let cases = fs::read_to_string(place.path("a.xml")).unwrap();
    assert!(
        cases.contains("failures=\"1\"") && cases.contains("at least 1 is asked for"),
        "{cases}"
    );
    let ended = place.run(&audit(&["--format", "json", "--no-timing", "--json", "b.json"]));
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(ended.out, fs::read_to_string(place.path("b.json")).unwrap());
}

#[test]
fn a_leaderboard_entry_is_written_for_the_standard_attack() {
    let place = Place::with(&linear_net());
    let arguments = [
        "audit",
        "m.onnx",
        "--data",
        DATA,
        "--limit",
        "6",
        "--attack",
        "autoattack",
        "--eps",
        "60/255",
        "--format",
        "robustbench",
    ];
    let ended = place.run(&arguments);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    let entry = document(&ended);
    assert_eq!((&entry["eps"], &entry["name"]), (&"60/255".into(), &"m".into()));
    assert!(entry["autoattack_acc"].as_str().unwrap().parse::<f64>().is_ok());
}

#[test]
fn the_threshold_is_one_of_the_whole() {
    let place = Place::with(&linear_net());
    for part in ["1/2", "2/2"] {
        let name = format!("{}.json", &part[..1]);
        let made = place.run(&audit(&["--eps", "1/255", "--shard", part, "--json", &name]));
        assert_eq!((made.code, made.err.as_str()), (0, ""));
    }
    let merge = |more: &[&str]| place.run(&[&["audit-merge", "1.json", "2.json"], more].concat());
    let whole = document(&merge(&["--format", "json"]));
    let number = |value: &Value| value.as_f64().unwrap();
    let (lower, point) = (number(&whole["interval"]["lower"]), number(&whole["robust_accuracy"]));
    let between = f64::midpoint(lower, point).to_string();
    let by_interval = merge(&["--min-robust-accuracy", &between, "--junit", "m.xml"]);
    assert!(by_interval.code == 1 && by_interval.out.contains("too low"), "{}", by_interval.out);
    assert_eq!(merge(&["--min-robust-accuracy", &between, "--gate", "point"]).code, 0);
    assert!(fs::read_to_string(place.path("m.xml")).unwrap().contains("<failure"));
}

#[test]
fn an_audit_that_did_not_come_to_its_end_meets_no_threshold() {
    let place = Place::with(&conv_net(None));
    let least = ["--min-robust-accuracy", "0", "--gate", "point"];
    let late = [&least[..], &["--time-budget", "0s", "--junit", "a.xml"]].concat();
    let ended = place.run(&audit(&late));
    assert_eq!((ended.code, ended.err.as_str()), (1, ""));
    let said = ended.out.lines().find(|line| line.starts_with("unreached ")).unwrap();
    assert!(said.contains("at least 0 is asked for; images that were not reached: "), "{said}");
    let cases = fs::read_to_string(place.path("a.xml")).unwrap();
    assert!(cases.contains("name=\"min-robust-accuracy\"><failure "), "{cases}");
    let ended = place.run(&audit(&[&late[..], &["--format", "sarif"]].concat()));
    assert_eq!((ended.code, ended.err.lines().count()), (1, 1), "{}", ended.err);
    assert_eq!(document(&ended)["runs"][0]["results"][0]["ruleId"], "min-robust-accuracy");

    let part = |part: &str, name: &str, more: &[&str]| {
        let asked = [&["--shard", part, "--json", name], more].concat();
        place.run(&audit(&asked)).code
    };
    let merge = ["audit-merge", "1.json", "2.json"];
    assert_eq!(part("1/2", "1.json", &[]), 0);
    assert_eq!(part("2/2", "2.json", &["--time-budget", "0s"]), 0);
    let whole = place.run(&[&merge[..], &least].concat());
    assert!(whole.code == 1 && whole.out.contains("unreached "), "{}", whole.out);
    // The same command goes on from what was done.
    assert_eq!(part("2/2", "2.json", &[]), 0);
    let whole = place.run(&[&merge[..], &least].concat());
    assert_eq!(whole.code, 0, "{}", whole.out);
}
