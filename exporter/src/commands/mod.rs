//! The commands: settings to results on standard output.

mod export;
mod verify;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::verify::engine::Engine;

/// What a command comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All is fine.
    Yes,
    /// The answer to what was asked is no.
    No,
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::SUCCESS,
            Answer::No => Self::from(1),
        }
    }
}

/// Runs the command that `cli` asks for.
///
/// # Errors
/// If it cannot be carried out.
pub fn run(cli: &Cli) -> anyhow::Result<Answer> {
    let engine = Engine::start(cli.shared.onnxruntime.as_deref(), cli.shared.threads)?;
    match &cli.command {
        Command::Export(settings) => export::run(settings, &engine),
        Command::Verify(settings) => verify::run(settings, &engine),
    }
}
