//! The program `rift-exporter`.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use rift_exporter::cli::Cli;
use rift_exporter::commands;
use rift_models::program::{fail, refuse};
use rift_runtime::session::library::silence_telemetry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    // Before any thread, and before ONNX Runtime is loaded.
    silence_telemetry();
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let terminal = std::io::stderr().is_terminal();
    let default = match (cli.shared.quiet, terminal) {
        (true, _) => LevelFilter::ERROR,
        (false, true) => LevelFilter::INFO,
        (false, false) => LevelFilter::WARN,
    };
    let wanted = std::env::var("RIFT_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .without_time()
        .with_target(false)
        .with_filter(wanted.unwrap_or_else(|| Targets::new().with_default(default)));
    tracing_subscriber::registry().with(log).init();
    let given = commands::run(&cli)
        .and_then(|answer| answer.give().context("cannot write to standard output"));
    given.unwrap_or_else(|error| fail(&format!("{error:#}")))
}
