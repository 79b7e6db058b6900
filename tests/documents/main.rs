//! What the documentation says, held against the programs and the files that it names.

#![expect(clippy::unwrap_used, reason = "a test says what it expects with `unwrap`")]

mod figures;
mod flags;
mod formats;
mod links;
mod zoo;
