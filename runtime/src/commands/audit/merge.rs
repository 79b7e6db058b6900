//! `rift-runtime audit-merge`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use rift_models::artifact::{AuditReport, atomic, read_json};
use rift_runtime::audit::{html, merge};

use super::super::Answer;
use super::super::output::{self, Named};
use super::formats::FormatArgs;

/// The arguments of `audit-merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The reports of all parts, in any order
    #[arg(value_name = "AUDIT.json", required = true)]
    parts: Vec<PathBuf>,
    /// Write the report of the whole as JSON
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    /// Write it as one page, without pictures and names of classes, which the parts do not hold
    #[arg(long, value_name = "PATH", env = "RIFT_HTML")]
    html: Option<PathBuf>,
    #[command(flatten)]
    formats: FormatArgs,
}

/// Makes one report of those of its parts.
pub(crate) fn run(args: &MergeArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let json = args.json.as_deref().map(|path| ("--json", path));
    let html = args.html.as_deref().map(|path| ("--html", path));
    let outputs: Vec<Named<'_>> =
        json.into_iter().chain(html).chain(args.formats.paths()).collect();
    let inputs: Vec<Named<'_>> = args.parts.iter().map(|part| ("a part", part.as_path())).collect();
    output::check(&outputs, &inputs)?;
    let parts = args
        .parts
        .iter()
        .map(|path| Ok((path.display().to_string(), read_json::<AuditReport>(path, "audit")?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let whole = merge(parts)?;
    if let Some(path) = &args.html {
        let page = html::page(&whole, &html::Surroundings::default());
        atomic::write(path, page.as_bytes())?;
    }
    if let Some(path) = &args.json {
        atomic::write_json(path, &whole)?;
    }
    let data = whole.request.as_ref().map_or("data", |request| request.data.as_str());
    args.formats.write(&whole, data, &[], out)
}
