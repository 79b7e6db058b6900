//! Bad input gets exit code 2 and one clear line; nothing is written, nothing is half-written.

#![expect(clippy::unwrap_used, reason = "a test says what it expects with `unwrap`")]

mod data;
mod disk;
mod files;
mod resume;
mod settings;
