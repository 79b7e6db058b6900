//! A report's figures, counted from its images.

use rift_models::artifact::{Accuracy, AttackResult, AuditReport, SampleResult};

use super::certificate;

/// What breaks an image that is misclassified as it is.
const CLEAN: &str = "clean";

/// Counts everything that follows from a report's images anew.
pub(super) fn recount(report: &mut AuditReport) {
    let n = report.samples.len();
    let right = report.samples.iter().filter(|s| s.clean_prediction == s.label).count();
    let clean = Accuracy::new(right, n);
    let mut left = right;
    for attack in &mut report.attacks {
        attack.attacked = left;
        attack.broken = report.samples.iter().filter(|sample| is_by(sample, attack)).count();
        left = left.saturating_sub(attack.broken);
        attack.robust = Accuracy::new(left, n);
    }
    for point in &mut report.curve {
        let of_eps = report.attacks.iter().rev().find(|a| a.eps.as_ref() == Some(&point.eps));
        point.robust = of_eps.map_or(clean, |attack| attack.robust);
    }
    if let Some(twin) = &mut report.twin {
        let right = |which: usize| {
            let samples = report.samples.iter();
            samples.filter(|s| s.twin.is_some_and(|classes| classes[which] == s.label)).count()
        };
        (twin.clean, twin.adversarial) = (Accuracy::new(right(0), n), Accuracy::new(right(1), n));
    }
    let robust = Accuracy::new(left, n);
    report.n = n;
    (report.clean_accuracy, report.clean_interval) = (clean.fraction, clean.interval);
    (report.robust_accuracy, report.interval) = (robust.fraction, robust.interval);
    certificate::recount(report);
}

/// What a report, whole or a part, says of its images that they do not, in words that go before
/// `not`; or of an image that no image can be.
pub fn contradiction(report: &AuditReport) -> Option<&'static str> {
    if report.samples.windows(2).any(|pair| pair[0].index >= pair[1].index) {
        return Some("order of the images is");
    }
    let is_possible = |sample| is_possible(sample, &report.attacks);
    if !report.samples.iter().all(is_possible) {
        return Some("verdict on an image is");
    }
    let mut counted = report.clone();
    recount(&mut counted);
    let clean = |report: &AuditReport| (report.clean_accuracy, report.clean_interval);
    let robust = |report: &AuditReport| (report.robust_accuracy, report.interval);
    let is_more =
        |attack: &AttackResult| attack.unreached > attack.attacked.saturating_sub(attack.broken);
    [
        (report.n != counted.n, "number of images is"),
        (clean(report) != clean(&counted), "clean accuracy is"),
        (report.attacks != counted.attacks, "attacks' counts are"),
        (counted.attacks.iter().any(is_more), "attacks' counts are"),
        (report.curve != counted.curve, "curve is"),
        (robust(report) != robust(&counted), "robust accuracy is"),
        (report.twin != counted.twin, "gradients' model's figures are"),
        (report.certified != counted.certified, "certificate is"),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}

/// Whether this attack broke the image.
fn is_by(sample: &SampleResult, attack: &AttackResult) -> bool {
    sample.broken_by.as_ref() == Some(&attack.name) && sample.broken_at == attack.eps
}

/// Whether an image's classes are those of what is said to have broken it.
fn is_possible(sample: &SampleResult, attacks: &[AttackResult]) -> bool {
    let is_right = sample.clean_prediction == sample.label;
    let has_changed = sample.adversarial_prediction != sample.clean_prediction;
    match sample.broken_by.as_deref() {
        None => is_right && !has_changed && sample.broken_at.is_none(),
        Some(CLEAN) => !is_right && !has_changed && sample.broken_at.is_none(),
        Some(_) => is_right && has_changed && attacks.iter().any(|attack| is_by(sample, attack)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rift_models::artifact::read_json;

    use super::super::format::tests::report;
    use super::*;

    /// A report of `broken` images that an attack broke, one that was wrong, and others.
    fn honest() -> AuditReport {
        let mut report = report();
        let name = report.attacks[0].name.clone();
        let sample = |index: usize| SampleResult {
            index,
            label: 0,
            clean_prediction: usize::from(index == 5),
            adversarial_prediction: usize::from(index < 2 || index == 5),
            distance: 0.0,
            broken_by: match index {
                0 | 1 => Some(name.clone()),
                5 => Some(CLEAN.to_owned()),
                _ => None,
            },
            broken_at: None,
            blind: false,
            twin: None,
        };
        report.samples = (0..8).map(sample).collect();
        recount(&mut report);
        report
    }

    #[test]
    fn figures_are_those_of_the_images() {
        let report = honest();
        assert_eq!((report.n, report.clean_accuracy, report.robust_accuracy), (8, 0.875, 0.625));
        assert_eq!((report.attacks[0].attacked, report.attacks[0].broken), (7, 2));
        assert_eq!(contradiction(&report), None);
    }

    #[test]
    fn the_audits_that_ship_agree_with_their_images() {
        let zoo = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/zoo"));
        let folders = fs::read_dir(zoo).unwrap().map(|entry| entry.unwrap().path());
        let paths = folders.map(|folder| folder.join("audit.json")).filter(|path| path.is_file());
        let reports: Vec<AuditReport> =
            paths.map(|path| read_json(&path, "audit").unwrap()).collect();
        assert!(reports.len() >= 4);
        for report in reports {
            assert_eq!(contradiction(&report), None, "{}", report.model.path);
        }
    }

    #[test]
    fn every_figure_that_is_not_is_found() {
        let tampered = |tamper: fn(&mut AuditReport)| {
            let mut report = honest();
            tamper(&mut report);
            contradiction(&report).unwrap_or_default()
        };
        assert_eq!(tampered(|r| r.attacks[0].broken = 1), "attacks' counts are");
        assert_eq!(tampered(|r| r.attacks[0].unreached = 6), "attacks' counts are");
        assert_eq!(tampered(|r| r.robust_accuracy = 1.0), "robust accuracy is");
        assert_eq!(tampered(|r| r.interval.lower = 0.9), "robust accuracy is");
        assert_eq!(tampered(|r| r.clean_accuracy = 1.0), "clean accuracy is");
        assert_eq!(tampered(|r| r.robust_accuracy = 17.0), "robust accuracy is");
        assert_eq!(tampered(|r| r.n = 9), "number of images is");
        assert_eq!(tampered(|r| r.samples.clear()), "number of images is");
        assert_eq!(tampered(|r| r.samples.swap(0, 1)), "order of the images is");
        assert_eq!(tampered(|r| r.samples[0].broken_by = None), "verdict on an image is");
        assert_eq!(tampered(|r| r.samples[3].clean_prediction = 1), "verdict on an image is");
        assert_eq!(tampered(|r| r.samples[5].broken_by = None), "verdict on an image is");
        let other = |r: &mut AuditReport| r.samples[0].broken_by = Some("other".to_owned());
        assert_eq!(tampered(other), "verdict on an image is");
        assert!(!tampered(|r| drop(r.samples.remove(7))).is_empty());
    }
}
