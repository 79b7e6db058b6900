//! Why a model is not served.

use crate::server::screen::ScreenError;
use crate::server::signatory::UnsignedError;
use crate::session::SessionError;

/// Why a model is not served.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be opened or run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It does not bear the signature that is asked for.
    #[error(transparent)]
    Signature(#[from] UnsignedError),
    /// It does not pass the screen.
    #[error(transparent)]
    Screen(#[from] ScreenError),
    /// It does not pass a condition.
    #[error("{0}")]
    Condition(String),
    /// It cannot be had from the repository.
    #[error("{0}")]
    Repository(String),
    /// It was unloaded, or taken away, before it was open.
    #[error("model `{0}` was unloaded before it was open")]
    Withdrawn(String),
    /// The system has no thread for it.
    #[error("cannot start a worker")]
    Thread(#[source] std::io::Error),
    /// It is not known where it would come from.
    #[error("model `{name}` is not known, expected one of {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that are known.
        known: String,
    },
}

/// An error with its causes.
pub(in crate::server) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
