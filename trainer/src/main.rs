//! `rift-trainer`: from images to a robust checkpoint.

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use rift_trainer::cli::Cli;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Shows help and version as they are, and what is wrong with the arguments in one line.
fn explain(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        error.exit();
    }
    let text = error.to_string();
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|part| text.find(part));
    let what = &text[..end.min().unwrap_or(text.len())];
    fail(&format!("{}; see `--help`", what.trim_start_matches("error: ")))
}

/// Prints an error in one line; the exit code says that there was one.
#[expect(clippy::print_stderr, reason = "an error is a line on standard error")]
fn fail(message: &str) -> ExitCode {
    let words: Vec<&str> = message.split_whitespace().collect();
    eprintln!("error: {}", words.join(" "));
    ExitCode::from(2)
}
