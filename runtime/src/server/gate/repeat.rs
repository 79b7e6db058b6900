//! The audit of what is served, repeated in the background.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::Gate;
use crate::audit::Watch;
use crate::server::app::App;
use crate::server::registry::State;
use crate::session::SessionOptions;

/// A thread of the lowest priority that attacks every model that is served, one after the other, and
/// begins anew after a while. Each round has draws of its own.
///
/// What it finds is shown; a model that fails now is served on, since one unlucky draw should not take
/// a device down.
#[derive(Debug)]
pub struct Repetition {
    stop: Arc<AtomicBool>,
    wake: Sender<()>,
    thread: JoinHandle<()>,
}

impl Repetition {
    /// Starts it; the first round comes after `every`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(gate: Arc<Gate>, app: Arc<App>, every: Duration) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, woken) = channel();
        let flag = Arc::clone(&stop);
        let thread = Builder::new().name("rift audit".to_owned()).spawn(move || {
            yield_to_others();
            run(&gate, &app, (every, &woken), &flag);
        })?;
        Ok(Self { stop, wake, thread })
    }

    /// Ends it in mid-audit and waits until it has.
    ///
    /// # Errors
    /// If it has panicked.
    pub fn end(self) -> std::thread::Result<()> {
        self.stop.store(true, Ordering::Release);
        drop(self.wake);
        self.thread.join()
    }
}

fn run(gate: &Gate, app: &App, (every, woken): (Duration, &Receiver<()>), stop: &Arc<AtomicBool>) {
    let one = SessionOptions { threads: 1, ..gate.options };
    for round in 1u64.. {
        if woken.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        for listed in app.registry.index() {
            let State::Ready(served) = listed.state else { continue };
            let (model, version) = (listed.name, listed.version);
            let watch = Watch { stop: Some(Arc::clone(stop)), ..Watch::default() };
            let found = gate.audit(served.classifier(), (&one, round), &watch);
            if stop.load(Ordering::Acquire) {
                return;
            }
            let now = app.registry.find(&model, Some(&version.to_string()));
            if !now.is_ok_and(|now| Arc::ptr_eq(&now, &served)) {
                // What has taken its place has been attacked when it was opened.
                continue;
            }
            match found {
                Ok((report, seconds)) => {
                    if let Some(reason) = gate.shortfall(&report) {
                        tracing::error!(model, version, reason, "the served model fails its audit");
                    }
                    gate.audits.keep((model, version), report, seconds);
                }
                Err(reason) => tracing::error!(model, version, reason, "no audit"),
            }
        }
    }
}

/// Lets this thread, and those that it starts, run only where others leave time.
pub(in crate::server) fn yield_to_others() {
    // Linux takes this for the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::warn!("work in the background runs at the usual priority: {error}");
    }
}
