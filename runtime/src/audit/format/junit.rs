//! `JUnit`'s XML, for CI.

use std::fmt::Write as _;

use rift_models::artifact::AuditReport;
use rift_models::markup::escape;

use super::super::rules::{self, GATE, RULES, Weight};
use super::Threshold;

/// A suite with a case for the threshold and for each kind of warning.
///
/// A warning that takes trust from the figures is a failure; one that is only to be known passes, and
/// says so in its output. Without a threshold its case is skipped.
pub fn junit(report: &AuditReport, threshold: Option<&Threshold>) -> String {
    let mut cases = String::new();
    let (mut failures, mut skipped) = (0, 0);
    match threshold {
        Some(threshold) if threshold.is_met() => {
            case(&mut cases, GATE.name, &output(&threshold.sentence()));
        }
        Some(threshold) => {
            failures += 1;
            case(&mut cases, GATE.name, &failure(GATE.says, &threshold.sentence()));
        }
        None => {
            skipped += 1;
            case(&mut cases, GATE.name, "<skipped message=\"no threshold is asked for\"/>");
        }
    }
    for rule in &RULES {
        let of_rule = |warning: &&String| rules::of(warning).name == rule.name;
        let found: Vec<&str> =
            report.warnings.iter().filter(of_rule).map(|w| rules::sentence(w)).collect();
        let text = found.join("\n");
        let content = match rule.weight {
            _ if found.is_empty() => String::new(),
            Weight::Distrust => {
                failures += 1;
                failure(rule.says, &text)
            }
            Weight::Note => output(&text),
        };
        case(&mut cases, rule.name, &content);
    }
    let tests = RULES.len() + 1;
    let seconds: f64 = report.attacks.iter().filter_map(|attack| attack.seconds).sum();
    let counts = format!(
        "tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" \
         time=\"{seconds:.3}\""
    );
    let robust = format!(
        "clean accuracy {:.4}, robust accuracy {:.4} ({:.4} to {:.4}), n {}, {} {}",
        report.clean_accuracy,
        report.robust_accuracy,
        report.interval.lower,
        report.interval.upper,
        report.n,
        report.threat.norm,
        report.threat.eps
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"rift-runtime audit\" {counts}>\n\
         <testsuite name=\"{}\" {counts}>\n{cases}<system-out>{}</system-out>\n</testsuite>\n\
         </testsuites>\n",
        escape(&report.model.path),
        escape(&robust)
    )
}

fn case(cases: &mut String, name: &str, content: &str) {
    // Writing to a string cannot fail.
    let _ = if content.is_empty() {
        writeln!(cases, "<testcase classname=\"audit\" name=\"{name}\"/>")
    } else {
        writeln!(cases, "<testcase classname=\"audit\" name=\"{name}\">{content}</testcase>")
    };
}

fn failure(says: &str, text: &str) -> String {
    let (says, text) = (escape(says), escape(text));
    format!("<failure type=\"audit\" message=\"{says}\">{text}</failure>")
}

fn output(text: &str) -> String {
    format!("<system-out>{}</system-out>", escape(text))
}
