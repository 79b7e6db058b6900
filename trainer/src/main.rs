//! `rift-trainer`: from images to a robust checkpoint.

use std::process::ExitCode;

use clap::Parser;
use rift_models::program::{fail, refuse};
use rift_trainer::cli::Cli;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let wanted = std::env::var("RIFT_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let wanted = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(log.with_filter(wanted)).init();
    match cli.command.run() {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}
