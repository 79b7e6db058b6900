//! SIGINT, SIGTERM and SIGQUIT: the first asks to stop in order, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use rift_runtime::audit::state::State;
use signal_hook::consts::TERM_SIGNALS;
use signal_hook::flag;

/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: usize = 128;

/// Set by the first signal.
pub(super) struct Stop {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// The audit was stopped in order.
#[derive(Debug, thiserror::Error)]
#[error("stopped by signal {signal}; {what}")]
pub(crate) struct Stopped {
    signal: usize,
    what: String,
}

impl Stopped {
    /// As a shell reports it: 130 after SIGINT, 143 after SIGTERM.
    pub(crate) fn code(&self) -> u8 {
        (BY_SIGNAL + self.signal) as u8
    }
}

/// Listens from here on.
pub(super) fn listen() -> anyhow::Result<Stop> {
    let (set, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for number in TERM_SIGNALS {
        let code = (BY_SIGNAL as i32) + number;
        // In this order: the first signal finds the flag still down.
        flag::register_conditional_shutdown(*number, code, Arc::clone(&set))
            .and_then(|_| flag::register_usize(*number, Arc::clone(&signal), *number as usize))
            .and_then(|_| flag::register(*number, Arc::clone(&set)))
            .context("cannot listen to signals")?;
    }
    Ok(Stop { flag: set, signal })
}

impl Stop {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// What the user is told.
    pub(super) fn stopped(&self, state: Option<&State>) -> Stopped {
        let what = match state.filter(|state| state.has_records()) {
            Some(state) => format!("the same command goes on from `{}`", state.path().display()),
            None if state.is_some() => "nothing was done yet".to_owned(),
            None => "nothing was kept (`--state PATH` or `--json PATH` keeps what is done)".into(),
        };
        Stopped { signal: self.signal.load(Ordering::Relaxed), what }
    }
}
