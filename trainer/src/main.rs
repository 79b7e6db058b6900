//! `rift-trainer`: from images to a robust checkpoint.

use std::process::ExitCode;

use clap::Parser;
use rift_models::program::{fail, refuse};
use rift_trainer::cli::Cli;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}
