//! `rift-trainer presets`: what a training may start from.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::config::Preset;

/// Arguments of `presets`.
#[derive(Debug, Args)]
pub struct PresetsArgs {
    /// Print this one, as a file that `train --config` reads.
    #[arg(value_enum)]
    name: Option<Preset>,
}

/// Runs `presets`.
///
/// # Errors
/// If standard output is closed.
pub fn run(args: &PresetsArgs) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match args.name {
        Some(preset) => write!(out, "{}", preset.text())?,
        None => {
            for preset in Preset::all() {
                writeln!(out, "{:<16}{}", preset.name(), preset.summary())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
