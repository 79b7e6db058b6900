//! The accuracies that were measured when a checkpoint was made.

use std::path::Path;

use rift_models::artifact::{CardMetric, JsonError, Lineage, SweepReport, read_json};

/// The report of an interpolation, beside the checkpoint that it chose.
pub const SWEEP: &str = "sweep.json";

/// The clean and robust accuracy of the checkpoint at `checkpoint`, where the interpolation that
/// made it left its report beside it.
///
/// A report of another checkpoint is not used: it must come from the same two parents, and where
/// the checkpoint says its α, have chosen that α.
///
/// # Errors
/// If there is a report and it cannot be read.
pub fn measured(checkpoint: &Path, lineage: &Lineage) -> Result<Vec<CardMetric>, JsonError> {
    let path = checkpoint.with_file_name(SWEEP);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let sweep: SweepReport = read_json(&path, "sweep report")?;
    let point = sweep.points.iter().find(|point| point.alpha == sweep.chosen);
    let Some(point) = point.filter(|_| describes(&sweep, lineage)) else {
        tracing::warn!("`{}` is of another checkpoint: its figures are left out", path.display());
        return Ok(Vec::new());
    };
    let metric = |name: &str, attack, accuracy| CardMetric {
        name: name.to_owned(),
        split: sweep.split.clone(),
        attack,
        accuracy,
    };
    let attack = Some(sweep.threat.clone());
    Ok(vec![metric("clean", None, point.clean), metric("robust", attack, point.robust)])
}

/// Whether `sweep` is the report of the interpolation that made a checkpoint of this lineage.
fn describes(sweep: &SweepReport, lineage: &Lineage) -> bool {
    let parents = |lineage: &Lineage| ["from", "to"].map(|role| lineage.parents.get(role).cloned());
    let alpha = lineage.settings.get("alpha").and_then(serde_json::Value::as_f64);
    parents(lineage).iter().all(Option::is_some)
        && parents(&sweep.lineage) == parents(lineage)
        && alpha.is_none_or(|alpha| alpha == sweep.chosen)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rift_models::artifact::{Accuracy, Digest, PairedTest, SweepPoint, atomic};
    use rift_models::threat::AttackSpec;

    use super::*;

    fn lineage(to: &str, alpha: f64) -> Lineage {
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        Lineage {
            parents: BTreeMap::from([("from".into(), digest("at")), ("to".into(), digest(to))]),
            settings: serde_json::json!({ "alpha": alpha }),
            ..Lineage::default()
        }
    }

    #[test]
    fn come_from_the_report_of_this_checkpoint_only() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("rift.safetensors");
        assert!(measured(&checkpoint, &lineage("ft", 0.5)).unwrap().is_empty());
        let same = PairedTest::new(&[], &[]);
        let point = |alpha: f64, clean: usize| SweepPoint {
            alpha,
            clean: Accuracy::new(clean, 100),
            robust: Accuracy::new(40, 100),
            clean_test: same,
            robust_test: same,
        };
        let sweep = SweepReport {
            modules: vec!["linear".to_owned()],
            split: "validation".to_owned(),
            threat: AttackSpec::paper(),
            tolerance: 0.001,
            seed: 0,
            points: vec![point(0.0, 60), point(0.5, 70)],
            chosen: 0.5,
            lineage: lineage("ft", 0.5),
        };
        atomic::write_json(&folder.path().join(SWEEP), &sweep).unwrap();
        let metrics = measured(&checkpoint, &lineage("ft", 0.5)).unwrap();
        let names: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["clean", "robust"]);
        assert_eq!(metrics[0].accuracy, Accuracy::new(70, 100));
        for other in [lineage("another", 0.5), lineage("ft", 0.3), Lineage::default()] {
            assert!(measured(&checkpoint, &other).unwrap().is_empty());
        }
        std::fs::write(folder.path().join(SWEEP), "{").unwrap();
        assert!(measured(&checkpoint, &lineage("ft", 0.5)).is_err());
    }
}
