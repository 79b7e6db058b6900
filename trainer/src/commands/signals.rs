//! SIGINT and SIGTERM: the first asks to stop in order, the second ends the program at once.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use signal_hook::consts::TERM_SIGNALS;
use signal_hook::flag;

use crate::stage::Stop;

/// What a shell adds to the number of the signal that ended a program.
const BY_SIGNAL: usize = 128;

/// Asks for a stop in order at the first of the signals that end a program (SIGINT, SIGTERM,
/// SIGQUIT); the second ends the program on the spot, with exit code 128 and its number.
pub(super) fn stop() -> anyhow::Result<Stop> {
    let (stop, again) = (Stop::default(), Arc::new(AtomicBool::new(false)));
    for signal in TERM_SIGNALS {
        let code = BY_SIGNAL as i32 + signal;
        // In this order: the first signal finds the flag still down.
        flag::register_conditional_shutdown(*signal, code, Arc::clone(&again))
            .and_then(|_| flag::register(*signal, Arc::clone(&again)))
            .and_then(|_| flag::register_usize(*signal, stop.cell(), *signal as usize))
            .context("cannot listen to signals")?;
    }
    Ok(stop)
}

/// The exit code of a program that was stopped: 130 after SIGINT, 143 after SIGTERM.
pub(super) fn exit_code(stop: &Stop) -> ExitCode {
    ExitCode::from((BY_SIGNAL + stop.requested().unwrap_or_default()) as u8)
}
