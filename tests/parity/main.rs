//! Trainer, exporter and runtime agree: through files, on the same weights and the same noise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it expects with `unwrap`, and what it found"
)]

mod attack;
mod export;
