//! Who looks on while an audit runs: told what is under way, keeping what is done, able to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::AuditError;
use super::state::State;

/// What is under way.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its name.
    pub name: &'a str,
    /// Images that are newly done.
    pub done: usize,
    /// Of how many.
    pub of: usize,
    /// How long the whole audit takes from here if no image breaks any more, once that can be said.
    pub left: Option<Duration>,
}

/// Told of every step.
pub type Progress<'w> = dyn Fn(Step<'_>) + Sync + 'w;

/// Who looks on; by default nobody.
#[derive(Clone, Default)]
pub struct Watch<'w> {
    /// Told of every step.
    pub progress: Option<&'w Progress<'w>>,
    /// Where what is done is kept.
    pub state: Option<&'w State>,
    /// Set by whoever wants the audit to stop in order.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Watch<'_> {
    /// Tells of progress.
    pub(super) fn tell(&self, name: &str, done: usize, of: usize) {
        self.step(Step { name, done, of, left: None });
    }

    pub(super) fn step(&self, step: Step<'_>) {
        if let Some(progress) = self.progress {
            progress(step);
        }
    }

    /// The same, without progress and state: for work beside the audit's own.
    pub(super) fn aside(&self) -> Self {
        Self { progress: None, state: None, stop: self.stop.clone() }
    }

    /// Whether the work goes on.
    ///
    /// # Errors
    /// If it is to stop, or what is done cannot be kept.
    pub(super) fn check(&self) -> Result<(), AuditError> {
        if let Some(state) = self.state {
            state.check()?;
        }
        match &self.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(AuditError::Interrupted),
            _ => Ok(()),
        }
    }
}
