//! The same question gets the same answer: however the work is spread, and after a kill.

#![expect(clippy::unwrap_used, reason = "a test says what it expects with `unwrap`")]

mod audit;
mod full_disk;
mod gpu_steps;
mod kill;
mod resume;
mod signals;
mod tensorboard;
mod zoo;
