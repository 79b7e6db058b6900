//! `rift-exporter verify` of a quantised, optimised bundle beside its float twin.

use rift_models::artifact::{
    Accuracy, Bundle, Card, CardMetric, Digest, Lineage, atomic, read_json,
};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::threat::AttackSpec;
use rift_runtime::session::Classifier;
use serde_json::Value;

use crate::fixture::{Finished, Run, rewrite};
use crate::quantize::{quantize, with_data};

fn quantized() -> Run {
    let run = with_data();
    let done = quantize(&run, &["--max-drop", "60", "--optimize", "portable"]);
    assert_eq!(done.code, 0, "{done:?}");
    run
}

const VERIFY: [&str; 6] = ["verify", "small", "--twin", "bundle", "--data", "data.npz"];

fn figures(run: &Run, done: &Finished) -> Vec<(String, String, bool)> {
    let report: Value = read_json(&run.path("report.json"), "report").unwrap();
    assert_eq!(report["holds"], done.code == 0, "{done:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = report["figures"].as_array().unwrap().iter();
    rows.map(|f| (text(&f["file"]), text(&f["what"]), f["holds"].as_bool().unwrap())).collect()
}

#[test]
fn one_table_compares_every_file() {
    let run = quantized();
    let done = run.rift(&[&VERIFY[..], &["--json", "report.json"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    let found = figures(&run, &done);
    let count = |file: &str, what: &str| {
        found.iter().filter(|(f, w, _)| f == file && w.contains(what)).count()
    };
    for file in ["int8", "float32", "optimised"] {
        assert_eq!(count(file, "logits"), 1, "{found:?}");
        assert!(count(file, "clean") >= 1 && count(file, "pgd-2 linf 8/255") >= 1, "{found:?}");
    }
    assert_eq!(found.len(), 3 + 2 * 4);
    assert!(done.stdout.contains("`--max-drop` when it was quantised"), "{done:?}");
    // Without images and twin, only the logits.
    let done = run.rift(&["verify", "small", "--json", "report.json"]);
    assert_eq!(figures(&run, &done).len(), 2, "{done:?}");
}

#[test]
fn a_tolerance_is_that_of_the_optimised_file_too() {
    let run = quantized();
    let done = run.rift(&["verify", "small", "--tolerance", "7", "--json", "report.json"]);
    assert_eq!(done.code, 0, "{done:?}");
    let report: Value = read_json(&run.path("report.json"), "report").unwrap();
    let rows = report["figures"].as_array().unwrap();
    let accepted: Vec<_> = rows.iter().map(|row| (&row["file"], &row["tolerance"])).collect();
    let expected =
        [("int8", 7.0), ("optimised", 7.0)].map(|(f, t)| (Value::from(f), Value::from(t)));
    assert_eq!(accepted, expected.each_ref().map(|(file, tolerance)| (file, tolerance)));
}

#[test]
fn a_card_that_promises_more_does_not_hold() {
    let run = quantized();
    let path = run.path("small/card.json");
    let mut card: Card = read_json(&path, "card").unwrap();
    for metric in &mut card.metrics {
        let n = metric.accuracy.n;
        let correct = if metric.accuracy.correct > n / 2 { 0 } else { n };
        metric.accuracy = rift_models::artifact::Accuracy::new(correct, n);
    }
    atomic::write_json(&path, &card).unwrap();
    let done = run.rift(&[&VERIFY[..], &["--json", "report.json"]].concat());
    assert_eq!(done.code, 1, "{done:?}");
    let failing: Vec<_> = figures(&run, &done).into_iter().filter(|(.., holds)| !holds).collect();
    assert_eq!(failing.len(), 2, "{failing:?}");
    assert!(failing.iter().all(|(file, ..)| file == "int8"), "{failing:?}");
}

#[test]
fn figures_of_other_images_are_no_promise() {
    let run = with_data();
    let request = Request::new(Split::Validation).limit(48);
    let data = Dataset::open(&run.path("data.npz"), &request).unwrap();
    let metric = |name: &str, attack| CardMetric {
        name: name.to_owned(),
        split: "validation".to_owned(),
        attack,
        accuracy: Accuracy::new(1, 48),
    };
    let attack = AttackSpec { steps: 2, ..AttackSpec::pgd20() };
    let verify = |chosen_by: Digest| {
        rewrite(&run.path("bundle"), |card| {
            card.metrics = vec![metric("clean", None), metric("robust", Some(attack.clone()))];
            let parents = [("validation".to_owned(), chosen_by)].into();
            let lineage = Lineage { parents, ..Lineage::default() };
            card.lineage.ancestors = [("checkpoint".to_owned(), lineage)].into();
        });
        run.rift(&["verify", "bundle", "--data", "data.npz"])
    };
    let done = verify(data.digest.clone());
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("the trainer rounds in its own way"), "{done:?}");
    let done = verify(Digest::of_bytes(b"others"));
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("the card has no figure of these images"), "{done:?}");
}

#[test]
fn the_optimised_file_runs_and_lists_its_operators() {
    let run = quantized();
    let bundle = Bundle::open(&run.path("small")).unwrap();
    let optimized = bundle.card.optimized.clone().unwrap();
    assert_eq!(optimized.reach, "portable");
    assert!(Classifier::open(&bundle.optimized()).is_ok());
    let list = std::fs::read_to_string(run.path("small/required_operators.config")).unwrap();
    let line = |start: &str| list.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(line("com.microsoft;1;").contains("QLinearAdd"), "{list}");
    for operator in ["QLinearConv", "Conv", "QuantizeLinear", "Sub"] {
        assert!(line("ai.onnx;17;").contains(operator), "{list}");
    }
    // A list of other operators would make a runtime without some that are needed.
    let path = run.path("small").join(Bundle::OPERATORS);
    std::fs::write(&path, list.replace("QLinearConv", "Conv")).unwrap();
    let done = run.rift(&["verify", "small"]);
    assert!(done.code == 1 && done.stdout.contains("operators            FAILS"), "{done:?}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(run.rift(&["verify", "small"]).code, 1);
    // A changed byte is seen and the file not run.
    let mut bytes = std::fs::read(bundle.optimized()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(bundle.optimized(), bytes).unwrap();
    let done = run.rift(&["verify", "small"]);
    assert!(done.code == 1 && done.stdout.contains("optimised digest     FAILS"), "{done:?}");
}

#[test]
fn what_does_not_belong_together_is_an_error() {
    let run = quantized();
    let twin = |path: &str| run.rift(&["verify", "small", "--twin", path]);
    twin("nowhere").fails(2, &["`nowhere` is not a bundle"]);
    twin("small").fails(2, &["`small` holds the model", "from which this one was made"]);
    run.rift(&["verify", "bundle", "--twin", "bundle"]).fails(2, &["is not quantised"]);
    run.rift(&["verify", "bundle", "--data", "nowhere"]).fails(2, &["nowhere"]);
    run.rift(&["verify", "bundle", "--images", "3"]).fails(2, &["--data"]);
    run.rift(&["verify", "bundle", "--data", "synthetic:3x3x12x12"])
        .fails(2, &["expected [1, 12, 12]", "found [3, 12, 12]"]);
}
