//! What the tests from outside share: the programs as processes, the networks that a closed formula
//! gives, the images that may be on this machine, and the pages of the documentation.
//!
//! Nothing here knows how the programs work inside: they are started as a user starts them.

#![expect(clippy::panic, reason = "a harness tells its test what is wrong by failing it")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so on standard error")]

pub mod document;
pub mod golden;
pub mod images;
pub mod program;
pub mod small;

pub use program::{Finished, Program};

/// Says that a test is skipped, and why; `make test` counts and names it.
pub fn skipped(reason: impl std::fmt::Display) {
    eprintln!("skipped: {reason}");
}
