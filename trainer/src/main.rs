//! `rift-trainer`: from images to a robust checkpoint.

use std::process::ExitCode;

use clap::Parser;
use rift_trainer::cli::Cli;
use tracing_subscriber::EnvFilter;

#[expect(clippy::print_stderr, reason = "an error is a line on standard error")]
fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::from(2)
        }
    }
}
