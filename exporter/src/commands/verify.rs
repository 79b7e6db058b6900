//! `rift-exporter verify`.

use std::fmt::Write;

use rift_models::artifact::atomic;

use super::Answer;
use crate::cli::Verify;
use crate::verify;
use crate::verify::engine::Engine;

/// A row for each check; also writes them as JSON where asked.
pub(super) fn run(settings: &Verify, engine: &Engine) -> anyhow::Result<Answer> {
    let report = verify::verify(&settings.bundle, settings.tolerance, engine)?;
    if let Some(path) = &settings.json {
        atomic::write_json(path, &report)?;
    }
    let mut text = format!("bundle {} (`{}`)\n", report.bundle, report.name);
    for check in &report.checks {
        let verdict = if check.holds { "holds" } else { "FAILS" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<20} {verdict}  {}", check.name, check.detail);
    }
    Ok(if report.holds {
        Answer::Yes(text + "the bundle holds\n")
    } else {
        Answer::No(text + "the bundle does not hold\n")
    })
}
