//! What a command gives: lines for a reader, JSON for a program.

use std::io;
use std::path::Path;

use rift_models::artifact::atomic;
use serde::Serialize;

/// Writes `report` as JSON where that was asked for. It was `shown` before: neither of the two is
/// lost with the other.
///
/// # Errors
/// If either could not be written.
pub(super) fn also_json(
    shown: io::Result<()>,
    json: Option<&Path>,
    report: &impl Serialize,
) -> anyhow::Result<()> {
    if let Some(path) = json {
        atomic::write_json(path, report)?;
    }
    Ok(shown?)
}
