//! Fine-tuning that leads beyond all numbers.

use super::*;
use crate::stage::ablate::DivergedRow;

#[test]
fn a_way_that_diverges_is_said_and_not_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    // So fast that the weights are no numbers in the first epoch or the second.
    let arguments = [&["rift"][..], &SHORT, &["--search", "1e30x2,0.001x1"]].concat();
    run(&arguments, &paths).unwrap();
    let report: RiftReport = read_json(&out.join("rift.json"), "report").unwrap();
    let kept: Vec<(f64, bool)> = report.candidates.iter().map(|c| (c.lr, c.chosen)).collect();
    assert_eq!(kept, [(0.001, true)]);
    let diverged: Vec<(f64, usize)> = report.diverged.iter().map(|d| (d.lr, d.epochs)).collect();
    assert_eq!(diverged, [(1e30, 2)]);
    let page = std::fs::read_to_string(out.join("rift.html")).unwrap();
    let expected = format!("diverged in epoch {}<", report.diverged[0].epoch);
    assert!(page.contains("tried") && page.contains(&expected), "{page}");
    let schema = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/rift.schema.json"),
    );
    let schema: serde_json::Value = serde_json::from_str(&schema.unwrap()).unwrap();
    let told = &schema["properties"]["diverged"]["items"]["properties"];
    for key in serde_json::to_value(report.diverged[0]).unwrap().as_object().unwrap().keys() {
        assert!(told[key].is_object(), "{key}");
    }
    let arguments = [&["rift"][..], &SHORT, &["--search", "1e30x2,1e31x2"]].concat();
    let error = run(&arguments, &paths).unwrap_err();
    assert!(error.contains("every way of fine-tuning diverged"), "{error}");
}

#[test]
fn statistics_that_overflow_are_a_divergence_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    // Every loss of the only epoch is a number; what it leaves is none.
    let way = ["--module", "conv1", "--search", "1e25x1,0.001x1"];
    run(&[&["rift"][..], &SHORT, &way].concat(), &paths).unwrap();
    let report: RiftReport = read_json(&out.join("rift.json"), "report").unwrap();
    let diverged: Vec<(f64, usize)> = report.diverged.iter().map(|d| (d.lr, d.epoch)).collect();
    assert_eq!(diverged, [(1e25, 1)]);
    let (chosen, _, _) = Checkpoint::read(&out.join("rift.safetensors")).unwrap();
    assert!(chosen.tensors.values().flatten().all(|value| value.is_finite()));
}

#[test]
fn a_row_that_diverges_does_not_end_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = checkpoint(folder.path());
    let out = folder.path().join("out");
    let paths = [("--checkpoint", at.as_path()), ("--out", &out)];
    let flags = ["--epochs", "1", "--lr", "1e25", "--rows", "all,statistics"];
    let ablate = [&["ablate"][..], &SHORT, &flags].concat();
    run(&ablate, &paths).unwrap();
    let row = out.join("rows/all/row.json");
    let written = std::fs::metadata(&row).unwrap().modified().unwrap();
    run(&ablate, &paths).unwrap();
    assert_eq!(std::fs::metadata(&row).unwrap().modified().unwrap(), written, "done again");
    let report: AblateReport = read_json(&out.join("ablate.json"), "report").unwrap();
    let rows: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows, ["statistics"]);
    let [DivergedRow { name, modules, epoch, .. }] = &report.diverged[..] else {
        panic!("{:?}", report.diverged)
    };
    assert_eq!((name.as_str(), modules.len(), *epoch), ("all", 10, 1));
}
