//! The program `rift-exporter`.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use rift_exporter::cli::Cli;
use rift_exporter::commands;
use rift_models::program::{fail, refuse};
use rift_runtime::session::library::silence_telemetry;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Before any thread, and before ONNX Runtime is loaded.
    silence_telemetry();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let terminal = std::io::stderr().is_terminal();
    let default = match (cli.shared.quiet, terminal) {
        (true, _) => "error",
        (false, true) => "info",
        (false, false) => "warn",
    };
    let filter = EnvFilter::try_from_env("RIFT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .without_time()
        .with_target(false)
        .init();
    let given = commands::run(&cli)
        .and_then(|answer| answer.give().context("cannot write to standard output"));
    given.unwrap_or_else(|error| fail(&format!("{error:#}")))
}
