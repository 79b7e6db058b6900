//! `rift-exporter verify`.
#![expect(clippy::print_stdout, reason = "a command prints its result")]

use rift_models::artifact::atomic;

use super::Answer;
use crate::cli::Verify;
use crate::verify;
use crate::verify::engine::Engine;

/// Prints a row for each check, and writes them as JSON where asked.
pub(super) fn run(settings: &Verify, engine: &Engine) -> anyhow::Result<Answer> {
    let report = verify::verify(&settings.bundle, settings.tolerance, engine)?;
    if let Some(path) = &settings.json {
        atomic::write_json(path, &report)?;
    }
    println!("bundle {} (`{}`)", report.bundle, report.name);
    for check in &report.checks {
        let verdict = if check.holds { "holds" } else { "FAILS" };
        println!("{:<20} {verdict}  {}", check.name, check.detail);
    }
    let verdict = if report.holds { "the bundle holds" } else { "the bundle does not hold" };
    println!("{verdict}");
    Ok(if report.holds { Answer::Yes } else { Answer::No })
}
