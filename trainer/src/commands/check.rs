//! `rift-trainer check`: whether a device computes what it should.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rift_models::arch::ArchSpec;
use serde::Serialize;

use super::output::also_json;
use super::places::Places;
use crate::cli::{MachineArgs, PrecisionArgs};
use crate::network::Precision;
use crate::stage::check::{Row, check};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The architecture.
    #[arg(long, default_value = "resnet18", env = "RIFT_ARCH")]
    arch: String,
    /// Channels of the first stage, where the architecture lets them be chosen.
    #[arg(long, value_name = "N", env = "RIFT_WIDTH")]
    width: Option<usize>,
    /// Images in the batch.
    #[arg(long, value_name = "N", default_value_t = 16, env = "RIFT_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..))]
    batch_size: usize,
    /// Write the result as JSON.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// What `--json` holds.
#[derive(Debug, Serialize)]
struct CheckReport<'a> {
    arch: &'a str,
    device: String,
    precision: Precision,
    batch_size: usize,
    /// Whether every row is.
    fine: bool,
    rows: Vec<Row>,
}

/// Runs `check`; the answer is no where an error is more than rounding.
///
/// # Errors
/// If the architecture cannot be built or the device has too little memory.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    Places::new().writes("--json", args.json.as_deref()).check()?;
    let precision = args.numbers.precision;
    let device = args.machine.start(precision)?;
    let spec = ArchSpec { width: args.width, ..ArchSpec::new(&args.arch, [3, 32, 32], 10) };
    let rows = check(&spec.build()?, args.batch_size, device, precision)?;
    let report = CheckReport {
        arch: &args.arch,
        device: format!("{device:?}"),
        precision,
        batch_size: args.batch_size,
        fine: rows.iter().all(Row::is_fine),
        rows,
    };
    also_json(print(&report), args.json.as_deref(), &report)?;
    Ok(if report.fine { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(report: &CheckReport<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let CheckReport { arch, device, precision, batch_size, .. } = report;
    writeln!(out, "{arch}, {batch_size} images, {device} in {precision} against float64:")?;
    writeln!(out, "{:46} {:>9} {:>9}", "", "error", "allowed")?;
    for row @ Row { what, error, tolerance } in &report.rows {
        let verdict = if row.is_fine() { "" } else { "  too much" };
        writeln!(out, "{what:46} {error:>9.1e} {tolerance:>9.0e}{verdict}")?;
    }
    Ok(())
}
