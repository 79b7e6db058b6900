//! Signals that ask the audit to stop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use rift_runtime::audit::state::State;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Set by the first of them; the second ends the program at once.
pub(super) struct Stop(Arc<AtomicBool>);

/// Listens from here on.
pub(super) fn listen() -> anyhow::Result<Stop> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order, so that the first signal only sets the flag that the second then finds.
        flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context("cannot listen to signals")?;
    }
    Ok(Stop(stop))
}

impl Stop {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// What the user is told.
    #[expect(clippy::unused_self, reason = "only whoever listened can have been stopped")]
    pub(super) fn message(&self, state: Option<&State>) -> String {
        match state {
            Some(state) => format!(
                "stopped by a signal; the same command goes on from `{}`",
                state.path().display()
            ),
            None => "stopped by a signal; nothing was kept (`--state PATH` or `--json PATH` keeps \
                     what is done)"
                .to_owned(),
        }
    }
}
