//! The last audit of every model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rift_models::artifact::AuditReport;

/// The audits by model and version.
#[derive(Debug)]
pub struct Audits {
    minimum: f64,
    kept: Mutex<Kept>,
}

type ByModel = BTreeMap<(String, u64), Arc<Audited>>;

#[derive(Debug, Default)]
struct Kept {
    /// Of what is served, or was refused where nothing else is served under that name and version.
    last: ByModel,
    /// Of files of which it is not known yet whether they will be served.
    new: ByModel,
}

/// An audit that was made.
#[derive(Debug)]
pub struct Audited {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub seconds: f64,
    /// Whether the model was found to have the robust accuracy that is asked for.
    pub passed: bool,
    /// What was found.
    pub report: AuditReport,
}

impl Audited {
    /// Seconds since it ended.
    pub fn age(&self) -> f64 {
        // A clock that was set back makes it new.
        self.at.elapsed().map_or(0.0, |age| age.as_secs_f64())
    }
}

impl Audits {
    pub(super) fn new(minimum: f64) -> Self {
        Self { minimum, kept: Mutex::default() }
    }

    /// The robust accuracy that is asked for, a fraction.
    pub fn minimum(&self) -> f64 {
        self.minimum
    }

    /// Whether a model with this report may be served; one of an audit that did not come to its end
    /// only bounds the robust accuracy from above.
    pub(super) fn lets_pass(&self, report: &AuditReport) -> bool {
        report.robust_accuracy >= self.minimum && report.unreached() == 0
    }

    /// Keeps what was found of a file that may come to be served.
    pub(super) fn find(&self, model: (String, u64), report: AuditReport, seconds: f64) {
        let audited = self.audited(report, seconds);
        self.kept().new.insert(model, audited);
    }

    /// Shows what was found of the file that was last opened, where it `stands` for the version: another
    /// one that is served on has an audit of its own.
    pub(in crate::server) fn settle(&self, model: &(String, u64), stands: bool) {
        let mut kept = self.kept();
        let new = kept.new.remove(model);
        match new {
            _ if !stands => {}
            Some(audited) => drop(kept.last.insert(model.clone(), audited)),
            // It was refused before it was attacked.
            None => drop(kept.last.remove(model)),
        }
    }

    /// Shows nothing of a version any more.
    pub(in crate::server) fn forget(&self, model: &(String, u64)) {
        self.kept().last.remove(model);
    }

    /// Keeps what was found of a version while it is served.
    pub(super) fn keep(&self, model: (String, u64), report: AuditReport, seconds: f64) {
        let audited = self.audited(report, seconds);
        self.kept().last.insert(model, audited);
    }

    fn audited(&self, report: AuditReport, seconds: f64) -> Arc<Audited> {
        let passed = self.lets_pass(&report);
        Arc::new(Audited { at: SystemTime::now(), seconds, passed, report })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last audit of every version of every model.
    pub fn all(&self) -> Vec<((String, u64), Arc<Audited>)> {
        let kept = self.kept();
        kept.last.iter().map(|(model, audited)| (model.clone(), Arc::clone(audited))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::format::tests::report;

    #[test]
    fn an_audit_that_did_not_come_to_its_end_lets_nothing_pass() {
        let audits = Audits::new(0.4);
        let mut report = report();
        assert!(audits.lets_pass(&report));
        report.attacks[0].unreached = 1;
        assert!(!audits.lets_pass(&report));
        audits.keep(("m".to_owned(), 1), report, 0.0);
        assert!(!audits.all()[0].1.passed);
    }

    #[test]
    fn an_audit_stands_for_the_file_that_was_audited() {
        let audits = Audits::new(0.0);
        let model = ("m".to_owned(), 1);
        let found = |seconds: f64, stands| {
            audits.find(model.clone(), report(), seconds);
            audits.settle(&model, stands);
        };
        let shown = || audits.all().iter().map(|(_, audited)| audited.seconds).collect::<Vec<_>>();
        found(1.0, true);
        found(2.0, false);
        assert_eq!(shown(), [1.0], "the file is refused, the one before it is served on");
        audits.settle(&model, false);
        found(3.0, true);
        assert_eq!(shown(), [3.0]);
        audits.settle(&model, true);
        assert_eq!(shown(), [0.0; 0], "what stands there now was never attacked");
        found(4.0, true);
        audits.forget(&model);
        assert_eq!(shown(), [0.0; 0]);
    }
}
