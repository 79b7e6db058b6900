//! `rift` once for each of several seeds.

use std::io::Write;

use rift_models::artifact::atomic;
use serde_json::json;

use super::{RiftArgs, Run, Sets, files};
use crate::commands::output::also_json;
use crate::commands::source::Source;
use crate::stage::rift::{SeedsReport, page_of_seeds};

/// Checks that no seed counts twice.
pub(super) fn check(seeds: &[u64]) -> anyhow::Result<()> {
    for (place, seed) in seeds.iter().enumerate() {
        anyhow::ensure!(
            !seeds[..place].contains(seed),
            "expected different seeds in `--seeds`, found {seed} more than once"
        );
    }
    Ok(())
}

/// Runs every seed that is not done, and sums up.
pub(super) fn run(args: &RiftArgs, source: &Source, sets: &Sets) -> anyhow::Result<()> {
    let mut runs = Vec::with_capacity(args.seeds.len());
    for seed in &args.seeds {
        let out = args.out.join(files::of_seed(*seed));
        let run = Run::new(args, source, *seed)?;
        runs.push(match run.done(sets, &out)? {
            Some(report) => report,
            None => run.all(sets, &out)?,
        });
    }
    let data = sets.test.digest.clone();
    let report =
        SeedsReport::of(runs, source.lineage("rift", &[("data", &data)], json!(args.seeds)));
    let shown = print(&report);
    atomic::write_json(&args.out.join(files::SEEDS), &report)?;
    atomic::write(&args.out.join(files::PAGE), page_of_seeds(&report).as_bytes())?;
    also_json(shown, args.json.as_deref(), &report)
}

/// Prints mean and spread of each change.
fn print(report: &SeedsReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let count = report.seeds.len();
    writeln!(out, "change over {count} seeds, in points: mean ± deviation (range)")?;
    writeln!(out, "clean   {}", report.clean_change)?;
    writeln!(out, "robust  {}", report.robust_change)?;
    if let Some(change) = &report.corrupted_change {
        writeln!(out, "ood     {change}")?;
    }
    Ok(())
}
