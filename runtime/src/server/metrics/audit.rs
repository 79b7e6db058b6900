//! The series of the audit gate.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::server::Audits;

/// The model and its version.
type Labels = [(&'static str, String); 2];
/// The model, its version, the attacks, the radius and the norm.
type Threat = [(&'static str, String); 5];
type Number = Gauge<f64, AtomicU64>;

/// The last audit of every model.
#[derive(Debug, Default)]
pub(super) struct AuditMeters {
    robust: Family<Threat, Number>,
    clean: Family<Labels, Number>,
    passed: Family<Labels, Gauge>,
    age: Family<Labels, Number>,
}

impl AuditMeters {
    pub(super) fn register(&self, to: &mut Registry) {
        let robust = "Robust accuracy that the last audit found";
        to.register("rift_audit_robust_accuracy", robust, self.robust.clone());
        let clean = "Accuracy on the last audit's images as they are";
        to.register("rift_audit_clean_accuracy", clean, self.clean.clone());
        let passed = "Whether the last audit found the robust accuracy that is asked for";
        to.register("rift_audit_passed", passed, self.passed.clone());
        to.register("rift_audit_age_seconds", "Seconds since the last audit", self.age.clone());
    }

    pub(super) fn set(&self, audits: Option<&Audits>) {
        self.robust.clear();
        self.clean.clear();
        self.passed.clear();
        self.age.clear();
        for ((model, version), audited) in audits.map_or_else(Vec::new, Audits::all) {
            let report = &audited.report;
            let attacks: Vec<&str> = report.attacks.iter().map(|a| a.name.as_str()).collect();
            let labels = [("model", model.clone()), ("version", version.to_string())];
            let threat = [
                ("model", model),
                ("version", version.to_string()),
                ("attack", attacks.join(",")),
                ("eps", report.threat.eps.to_string()),
                ("norm", report.threat.norm.to_string()),
            ];
            self.robust.get_or_create(&threat).set(report.robust_accuracy);
            self.clean.get_or_create(&labels).set(report.clean_accuracy);
            self.passed.get_or_create(&labels).set(i64::from(audited.passed));
            self.age.get_or_create(&labels).set(audited.age());
        }
    }
}
