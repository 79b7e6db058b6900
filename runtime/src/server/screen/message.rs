//! What a program and the process that tries a model for it say to each other.
//!
//! To the process: an [`Order`] as a line of JSON, then for each model its length, 8 bytes in
//! little-endian order, and its bytes. From it: [`Ready`] as a line of JSON before any model is read,
//! then a [`Verdict`] a model.

use std::fmt;
use std::path::PathBuf;

use rift_models::artifact::{Digest, Reading};
use serde::{Deserialize, Serialize};

use super::Limits;
use crate::session::Role;

/// What is to be tried, and within which limits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) limits: Limits,
    /// The bytes of the largest file.
    pub(super) largest: u64,
    /// ONNX Runtime's library, where the user named it.
    pub(super) library: Option<PathBuf>,
    pub(super) reading: Reading,
    pub(super) role: Role,
    pub(super) image: Option<[usize; 3]>,
    /// Whether the values of the graph are measured too, as an audit does.
    pub(super) measure: bool,
}

/// What holds in the process before it reads a model.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The library that the model will be tried on.
    pub(super) library: PathBuf,
    pub(super) protections: Protections,
}

/// How the process that tries a model is confined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protections {
    /// The memory that it may have, in bytes, where the system limits it.
    pub memory: Option<u64>,
    /// The processor time that it may have for a model, in seconds, where the system limits it.
    pub processor: Option<u64>,
    /// Whether it can open no file and no socket: all that it may have are those that it has.
    pub no_new_files: bool,
    /// Whether it can write no file, not even one that is open.
    pub no_writing: bool,
    /// Whether nothing that it could start may have more rights than it has.
    pub no_new_privileges: bool,
    /// How far landlock holds it: `full`, `partial` (an older kernel), or why not.
    pub landlock: String,
}

impl fmt::Display for Protections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut held = Vec::new();
        held.extend(self.memory.map(|bytes| format!("{} MiB", bytes >> 20)));
        held.extend(self.processor.map(|seconds| format!("{seconds} s of processor time")));
        for (holds, what) in [
            (self.no_new_files, "no new files or sockets"),
            (self.no_writing, "no writing"),
            (self.no_new_privileges, "no new privileges"),
        ] {
            held.extend(holds.then(|| what.to_owned()));
        }
        write!(f, "{}, landlock: {}", held.join(", "), self.landlock)
    }
}

/// How one model fared.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// Of the bytes that were tried.
    pub(super) digest: Digest,
    /// What was wrong, if anything.
    pub(super) error: Option<String>,
}
