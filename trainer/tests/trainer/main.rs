//! The program from outside, on synthetic images.
#![expect(clippy::unwrap_used, reason = "tests say what they expect with `unwrap`")]

mod program;
mod stages;
mod train;
