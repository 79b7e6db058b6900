//! The last audit of every model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rift_models::artifact::AuditReport;

/// The audits by model and version.
#[derive(Debug)]
pub struct Audits {
    minimum: f64,
    last: Mutex<BTreeMap<(String, u64), Arc<Audited>>>,
}

/// An audit that was made.
#[derive(Debug)]
pub struct Audited {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub seconds: f64,
    /// Whether the model has the robust accuracy that is asked for.
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
        Self { minimum, last: Mutex::default() }
    }

    /// The robust accuracy that is asked for, a fraction.
    pub fn minimum(&self) -> f64 {
        self.minimum
    }

    pub(super) fn keep(&self, model: (String, u64), report: AuditReport, seconds: f64) {
        let passed = report.robust_accuracy >= self.minimum;
        let audited = Audited { at: SystemTime::now(), seconds, passed, report };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(model, Arc::new(audited));
    }

    /// The last audit of every version of every model.
    pub fn all(&self) -> Vec<((String, u64), Arc<Audited>)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().map(|(model, audited)| (model.clone(), Arc::clone(audited))).collect()
    }
}
