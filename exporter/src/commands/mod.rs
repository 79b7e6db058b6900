//! The commands: settings to results on standard output.

mod attest;
mod deploy;
mod export;
mod output;
mod quantize;
mod sign;
mod verify;
mod verify_signature;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use rift_models::program;

use crate::cli::{Cli, Command};
use crate::verify::engine::Engine;

/// What a command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All is fine; the result.
    Yes(String),
    /// The answer to what was asked is no; the result that says so.
    No(String),
    /// The answer is no, and nothing was made; why not.
    Refused(String),
}

impl Answer {
    /// Prints the answer, a result on standard output, a refusal on standard error; returns the
    /// exit code.
    ///
    /// # Errors
    /// If standard output cannot be written. A reader that has seen enough is no error.
    pub fn give(self) -> io::Result<ExitCode> {
        let (text, code) = match self {
            Self::Yes(text) => (text, ExitCode::SUCCESS),
            Self::No(text) => (text, ExitCode::from(1)),
            Self::Refused(why) => {
                program::fail(&why);
                return Ok(ExitCode::from(1));
            }
        };
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(code),
        }
    }
}

/// Runs the command that `cli` asks for.
///
/// # Errors
/// If it cannot be carried out.
pub fn run(cli: &Cli) -> anyhow::Result<Answer> {
    let engine = || Engine::start(cli.shared.onnxruntime.as_deref(), cli.shared.threads);
    match &cli.command {
        Command::Attest(settings) => attest::run(settings),
        Command::Deploy(settings) => deploy::run(settings, cli.shared.threads),
        Command::Export(settings) => export::run(settings, &engine()?),
        Command::Keygen(settings) => sign::keygen(settings),
        Command::Manual(settings) => {
            program::manual(Cli::command(), settings)?;
            Ok(Answer::Yes(String::new()))
        }
        Command::Quantize(settings) => quantize::run(settings, &engine()?),
        Command::Sign(settings) => sign::run(settings),
        Command::Verify(settings) => verify::run(settings, &engine()?),
        Command::VerifySignature(settings) => verify_signature::run(settings),
    }
}

/// A size for people.
fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes => format!("{:.1} MB", bytes / 1e6),
    }
}
