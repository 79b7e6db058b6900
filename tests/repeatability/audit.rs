//! An audit is the same for any batch size and thread count.

use std::path::Path;

use rift_models::artifact::{AuditReport, read_json};
use rift_tests::Program;
use rift_tests::images::TINY;
use rift_tests::program::finish;
use rift_tests::small::Trained;

fn audit(bundle: &Path, spread: [&str; 4], json: &Path) -> AuditReport {
    let mut command = Program::Runtime.command(["audit"]);
    command.arg(bundle).args(["--data", TINY, "--eps", "16/255", "--step", "4/255"]);
    command.args(["--steps", "5", "--restarts", "2", "--limit", "300"]);
    command.args(spread).arg("--json").arg(json);
    let _ = finish(&mut command).success();
    read_json(json, "audit").unwrap()
}

#[test]
fn another_batch_size_and_thread_count_change_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Trained::new(folder.path()).bundle;
    let json = folder.path().join("audit.json");
    let first = audit(&bundle, ["--batch-size", "16", "--threads", "1"], &json);
    assert_eq!(first.samples.len(), 300);
    let broken = first.samples.iter().filter(|s| s.broken_by.is_some()).count();
    assert!((1..300).contains(&broken), "the attack broke {broken} of 300 images");
    for spread in [
        ["--batch-size", "7", "--threads", "2"],
        ["--batch-size", "1", "--threads", "3"],
        ["--batch-size", "300", "--threads", "1"],
    ] {
        let other = audit(&bundle, spread, &json);
        for (a, b) in first.samples.iter().zip(&other.samples) {
            assert_eq!(a, b, "{spread:?}");
        }
        assert_eq!(first.robust_accuracy, other.robust_accuracy, "{spread:?}");
        assert_eq!(first.model.data, other.model.data);
    }
}
