//! SARIF 2.1.0, for code-scanning dashboards.

use std::fmt::Write as _;

use rift_models::artifact::AuditReport;
use serde_json::{Value, json};

use super::super::rules::{self, GATE, RULES, Rule, Weight};
use super::Threshold;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A log of one run: a rule for the threshold and for each kind of warning, and a result for each that
/// was found.
///
/// # References
/// OASIS Static Analysis Results Interchange Format (SARIF) 2.1.0.
pub fn sarif(report: &AuditReport, threshold: Option<&Threshold>) -> Value {
    let mut results = Vec::new();
    if let Some(threshold) = threshold.filter(|threshold| !threshold.is_met()) {
        results.push(result(report, &GATE, "error", &threshold.sentence()));
    }
    for warning in &report.warnings {
        let rule = rules::of(warning);
        results.push(result(report, rule, level(rule), rules::sentence(warning)));
    }
    let rules: Vec<Value> = rules_in_order().map(described).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "rift-runtime",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "artifacts": [{
                "location": {"uri": uri(&report.model.path)},
                "hashes": {"sha-256": report.model.digest.to_string()},
            }],
            "results": results,
            "columnKind": "utf16CodeUnits",
            "properties": {
                "clean_accuracy": report.clean_accuracy,
                "robust_accuracy": report.robust_accuracy,
                "interval": [report.interval.lower, report.interval.upper],
                "n": report.n,
                "threat": format!("{} {}", report.threat.norm, report.threat.eps),
            },
        }],
    })
}

fn rules_in_order() -> impl Iterator<Item = &'static Rule> {
    std::iter::once(&GATE).chain(&RULES)
}

fn level(rule: &Rule) -> &'static str {
    match rule.weight {
        Weight::Distrust => "warning",
        Weight::Note => "note",
    }
}

fn described(rule: &Rule) -> Value {
    let level = if rule.name == GATE.name { "error" } else { level(rule) };
    json!({
        "id": rule.name,
        "shortDescription": {"text": rule.says},
        "defaultConfiguration": {"level": level},
    })
}

fn result(report: &AuditReport, rule: &Rule, level: &str, text: &str) -> Value {
    let at = rules_in_order().position(|other| other.name == rule.name);
    json!({
        "ruleId": rule.name,
        "ruleIndex": at,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&report.model.path), "index": 0},
            // Dashboards place a result at a line, which a binary file does not have.
            "region": {"startLine": 1},
        }}],
        // The same finding of the same model is one finding, however often it is audited.
        "partialFingerprints": {
            "modelAndRule/v1": format!("{}:{}", report.model.digest, rule.name),
        },
    })
}

/// A path as a URI reference (RFC 3986): a relative one stays relative.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            b'\\' => uri.push('/'),
            other => {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}
