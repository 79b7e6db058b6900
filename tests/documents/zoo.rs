//! The table of the models that ship, held against their audits.

use std::path::Path;

use rift_models::artifact::{AuditReport, Bundle, Interval, read_json};
use rift_models::zoo;
use rift_tests::document::root;

/// The set of corruptions of which the table has the mean.
const CORRUPTIONS: &str = "paper";

fn percent(fraction: f64, Interval { lower, upper }: Interval) -> String {
    let [fraction, lower, upper] = [fraction, lower, upper].map(|part| part * 100.0);
    format!("{fraction:.1} % ({lower:.1} to {upper:.1})")
}

fn figures(bundle: &Path) -> [String; 4] {
    let audit: AuditReport = read_json(&bundle.join("../audit.json"), "audit").unwrap();
    let averages = audit.corruptions.unwrap().averages;
    let corrupted = averages.into_iter().find(|average| average.name == CORRUPTIONS).unwrap();
    let bytes = std::fs::metadata(bundle.join(Bundle::MODEL)).unwrap().len();
    [
        bytes.to_string(),
        percent(audit.clean_accuracy, audit.clean_interval),
        percent(audit.robust_accuracy, audit.interval),
        percent(corrupted.fraction, corrupted.interval),
    ]
}

#[test]
fn every_model_that_ships_is_listed_with_its_figures() {
    let folder = root().join("models/zoo");
    let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), zoo::entries().len());
    for (name, entry) in zoo::entries() {
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{name}` |"))).unwrap();
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().replace(',', "")).collect();
        // Before the first bar, the name, what it takes, the figures, after the last bar.
        assert_eq!(cells[3..7], figures(&folder.join(&entry.bundle)), "{name}");
    }
}
