//! How much a model may be and take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a model may be and take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The file, in bytes.
    pub file: u64,
    /// Nodes of the graph, and so the longest chain of them.
    pub nodes: usize,
    /// Numbers in what the file only describes: a declared input, a tensor that is made from a shape,
    /// all such tensors together.
    pub numbers: u64,
    /// Memory that the trial may take beside [`file_times`](Self::file_times), in bytes.
    pub memory: u64,
    /// How many times its own size a file may take besides.
    pub file_times: u64,
    /// Processor time of the trial.
    pub processor: Duration,
    /// Time on the wall of the trial, loading the library included.
    pub wall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file: 1 << 30,
            nodes: 20_000,
            numbers: 64 << 20,
            memory: 1 << 30,
            file_times: 8,
            processor: Duration::from_secs(30),
            wall: Duration::from_mins(1),
        }
    }
}

impl Limits {
    /// The memory that the trial of a file of so many bytes may take, in bytes.
    pub fn memory_for(&self, file: u64) -> u64 {
        self.memory.saturating_add(file.saturating_mul(self.file_times))
    }
}
