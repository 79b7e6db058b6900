//! Why a model is not let in.

use std::fmt;
use std::io;

use rift_models::onnx::{GraphError, OnnxError};

use crate::session::{LibraryError, SessionError};

/// The most faults that one error names.
const NAMED: usize = 8;

/// One fault of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where it is: `node x (Loop)`, an initialiser, the file.
    pub place: String,
    /// What is expected and found there.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.problem)
    }
}

/// A model that is not let in, or a trial that could not be held.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The file is no model.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The nodes do not make a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model holds what no classifier needs, or is too large.
    #[error("the model is refused: {}", list(.0))]
    Refused(Vec<Violation>),
    /// The trial does not start.
    #[error("the trial of the model does not start: {reason}")]
    Start {
        /// Why not.
        reason: String,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// The trial took more memory than it may.
    #[error("the model takes more than {limit} bytes of memory when it is tried: {reason}")]
    Memory {
        /// The limit, in bytes.
        limit: u64,
        /// How it ended.
        reason: String,
    },
    /// The trial took longer than it may.
    #[error("the model takes more than {seconds} s of {what} when it is tried")]
    Time {
        /// Processor time or time on the wall.
        what: &'static str,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// The trial ended without an answer.
    #[error("the model ends the process that it is tried in: {reason}")]
    Died {
        /// How it ended.
        reason: String,
    },
    /// ONNX Runtime, or what is known of classifiers, refuses the model.
    #[error("the model fails when it is tried: {reason}")]
    Failed {
        /// What was wrong.
        reason: String,
    },
    /// ONNX Runtime's library cannot be had.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The model passed, and then could not be opened.
    #[error(transparent)]
    Session(#[from] SessionError),
}

fn list(violations: &[Violation]) -> String {
    let named: Vec<_> = violations.iter().take(NAMED).map(ToString::to_string).collect();
    let rest = violations.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    format!("{}{more}", named.join("; "))
}
