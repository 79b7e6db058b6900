//! `rift-trainer mrc`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rift_models::artifact::{Ascent, Digest, MrcReport, atomic};
use rift_models::dataset::Split;
use rift_models::threat::AttackSpec;
use serde_json::json;

use super::places::Places;
use super::source::{Images, Source, ThreatArgs};
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::record::{Progress, figures};
use crate::stage::mrc::{MrcSettings, measure};

/// As many images as tell the modules apart, and no more: a pass a module and step over each.
pub(super) const IMAGES: usize = 2000;

/// Arguments of `mrc`. It measures on the first 2,000 images of the split, unless `--limit` says
/// otherwise.
#[derive(Debug, Args)]
pub struct MrcArgs {
    /// The checkpoint.
    #[arg(long, value_name = "FILE", env = "RIFT_CHECKPOINT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The images: `train` or `validation`. A module is chosen by the result, so never `test`.
    #[arg(long, default_value_t = Split::Train, env = "RIFT_SPLIT", value_parser = choosing)]
    split: Split,
    #[command(flatten)]
    threat: ThreatArgs,
    #[command(flatten)]
    ascent: AscentArgs,
    /// Measure on each half of the images too, and report how well the two orders agree.
    #[arg(long, env = "RIFT_HALVES", value_parser = clap::builder::FalseyValueParser::new())]
    halves: bool,
    /// Images in one pass, and in one step of `--ascent reference`, whose result depends on it.
    #[arg(long, default_value_t = 250, env = "RIFT_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    batch_size: usize,
    /// The seed of the attack's noise.
    #[arg(long, default_value_t = 0, env = "RIFT_SEED")]
    seed: u64,
    /// The report to write, as JSON. Beside a name in `.json`, a figure is written in `.svg`.
    #[arg(
        long,
        visible_alias = "json",
        value_name = "PATH",
        default_value = "mrc.json",
        env = "RIFT_OUT"
    )]
    out: PathBuf,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// How the weights of a module are perturbed.
#[derive(Clone, Debug, Args)]
pub struct AscentArgs {
    /// How far a module's weights may move, relative to their Frobenius norm.
    #[arg(long, default_value_t = 0.1, env = "RIFT_RADIUS", value_parser = super::positive)]
    radius: f64,
    /// Ascent steps of a module's weights.
    #[arg(long, default_value_t = 10, env = "RIFT_ASCENT_STEPS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    ascent_steps: usize,
    /// How they go up the loss: `normalized` steps along the gradient over all images, back into the
    /// ball after each, or the `reference` implementation's epochs of stochastic gradient steps, one a
    /// batch.
    #[arg(long, default_value_t, env = "RIFT_ASCENT", value_parser = clap::builder::ValueParser::new(str::parse::<Ascent>))]
    ascent: Ascent,
    /// Make the adversarial images anew for every perturbation, as the paper's definition has it;
    /// without, they stay those of the network as it is, as in its algorithm. Costs as much more as
    /// the attack has steps.
    #[arg(long, env = "RIFT_JOINT", value_parser = clap::builder::FalseyValueParser::new())]
    joint: bool,
    /// Memory for activations that need not be computed again, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048, env = "RIFT_CACHE")]
    cache: usize,
}

impl AscentArgs {
    /// The settings for passes of `batch` images.
    pub(super) fn settings(&self, threat: AttackSpec, batch: usize) -> MrcSettings {
        MrcSettings {
            threat,
            radius: self.radius,
            steps: self.ascent_steps,
            ascent: self.ascent,
            joint: self.joint,
            halves: false,
            batch,
            cache_bytes: self.cache.saturating_mul(1 << 20),
        }
    }
}

/// A split by which something may be chosen.
fn choosing(text: &str) -> Result<Split, String> {
    match text.parse::<Split>() {
        Ok(Split::Test) => Err("nothing is chosen by the test images".to_owned()),
        Ok(split) => Ok(split),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs `mrc`.
///
/// # Errors
/// If something cannot be read, or does not fit the checkpoint.
pub fn run(args: &MrcArgs) -> anyhow::Result<ExitCode> {
    Places::new()
        .reads("--checkpoint", args.checkpoint.as_path())
        .reads("--data", args.data.data.as_path())
        .writes("--out", args.out.as_path())
        .writes("--out", figure(&args.out).as_deref())
        .check()?;
    let source = Source::read(&args.checkpoint, &args.machine, args.numbers)?;
    let threat = args.threat.spec(&source.meta, args.seed)?;
    let limit = args.data.limit.or(Some(IMAGES));
    let images = source.images(&source.open(&args.data, args.split, limit)?)?;
    let settings =
        MrcSettings { halves: args.halves, ..args.ascent.settings(threat, args.batch_size) };
    let report = report(&source, &images, settings, args.machine.quiet)?;
    let shown = print(&report);
    write(&args.out, &report, &source)?;
    shown?;
    writeln!(std::io::stdout(), "wrote {}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Measures all modules.
pub(super) fn report(
    source: &Source,
    images: &Images,
    settings: MrcSettings,
    quiet: bool,
) -> anyhow::Result<MrcReport> {
    let modules: Vec<&str> = source.network.graph().modules().collect();
    let n = images.set.len();
    let progress = Progress::new("mrc", settings.images(n, modules.len()), quiet);
    let found = measure(&source.network, &images.set, &modules, &settings, &progress)?;
    drop(progress);
    let made_with = json!({
        "radius": settings.radius,
        "steps": settings.steps,
        "ascent": settings.ascent,
        "joint": settings.joint,
        "batch_size": settings.batch,
        "n": n,
    });
    let mut report = MrcReport {
        split: images.split.to_string(),
        n,
        seed: settings.threat.seed,
        threat: settings.threat,
        radius: settings.radius,
        steps: settings.steps,
        ascent: settings.ascent,
        joint: settings.joint,
        halves: found.halves,
        loss: found.loss,
        robust_accuracy: found.robust_accuracy,
        rows: found.rows,
        lineage: source.lineage("mrc", &[("data", &images.digest)], made_with),
    };
    report.sort();
    Ok(report)
}

/// Writes the report, and beside it a chart of the modules in network order; gives the report's
/// digest.
pub(super) fn write(path: &Path, report: &MrcReport, source: &Source) -> anyhow::Result<Digest> {
    let digest = atomic::write_json(path, report)?;
    if let Some(figure) = figure(path) {
        let modules: Vec<&str> = source.network.graph().modules().collect();
        figures::mrc(report, &modules).write(&figure)?;
    }
    Ok(digest)
}

/// The chart beside a report; a device or a pipe has nothing beside it.
fn figure(path: &Path) -> Option<PathBuf> {
    path.extension().filter(|extension| *extension == "json")?;
    Some(path.with_extension("svg"))
}

/// Columns of the longest bar.
const BAR: f64 = 24.0;

/// Prints a row a module, the least critical first.
pub(super) fn print(report: &MrcReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let MrcReport { n, split, threat, radius, steps, ascent, .. } = report;
    let robust = report.robust_accuracy * 100.0;
    let follow = if report.joint { ", attacks that follow the weights" } else { "" };
    writeln!(
        out,
        "module robust criticality, weights within {radius} of their norm, {steps} {ascent} steps{follow}"
    )?;
    writeln!(
        out,
        "{n} {split} images, {}: loss {:.4}, {robust:.2} %",
        threat.label(),
        report.loss
    )?;
    let width = report.rows.iter().map(|row| row.module.len()).max().unwrap_or(0).max(6);
    writeln!(out, "{:width$} {:>9} {:>9} {:>8}", "module", "weights", "mrc", "drop %")?;
    let most = report.rows.iter().map(|row| row.mrc).fold(f64::MIN_POSITIVE, f64::max);
    for row in &report.rows {
        let bar = "█".repeat((row.mrc / most * BAR).round() as usize);
        let drop = row.robust_accuracy_drop * 100.0;
        writeln!(
            out,
            "{:width$} {:>9} {:>9.4} {drop:>8.2} {bar}{}",
            row.module,
            row.weights,
            row.mrc,
            rejected(row.rejected)
        )?;
    }
    if let Some(halves) = report.halves {
        writeln!(out, "rank correlation between the two halves of the images: {halves:.3}")?;
    }
    Ok(())
}

/// What became of the steps that led nowhere.
fn rejected(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (1 step not finite)".to_owned(),
        _ => format!(" ({count} steps not finite)"),
    }
}
