//! `rift-trainer interpolate`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Digest, Lineage, SweepReport, atomic};
use rift_models::dataset::{Dataset, Split, check_classes};
use rift_models::threat::AttackSpec;
use serde_json::json;

use super::output::also_json;
use super::places::Places;
use super::source::{Images, Source, ThreatArgs, made_by};
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::network::Network;
use crate::record::{Progress, figures};
use crate::stage::interpolate::{Alphas, AlphasError, Sweep, SweepSettings, interpolate, moved};
use crate::stage::probe;

/// Two more points are looked at so far from the best one.
const REFINE: f64 = 0.05;

const SWEEP: &str = "sweep.json";
const CHOSEN: &str = "rift.safetensors";
const PROBE: &str = "probe.safetensors";

/// What is written into the folder.
pub(super) const FILES: [&str; 4] = [SWEEP, figures::SWEEP, CHOSEN, PROBE];

/// Arguments of `interpolate`. It chooses by the validation images and never sees the test images.
#[derive(Debug, Args)]
pub struct InterpolateArgs {
    /// The robust checkpoint, α = 0.
    #[arg(long, value_name = "FILE", env = "RIFT_FROM")]
    from: PathBuf,
    /// The fine-tuned checkpoint, α = 1.
    #[arg(long, value_name = "FILE", env = "RIFT_TO")]
    to: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    threat: ThreatArgs,
    #[command(flatten)]
    way: WayArgs,
    /// Images in a batch; the verdicts do not depend on it.
    #[arg(long, default_value_t = 250, env = "RIFT_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    batch_size: usize,
    /// The seed of the attack's noise.
    #[arg(long, default_value_t = 0, env = "RIFT_SEED")]
    seed: u64,
    /// The folder for `sweep.json`, `sweep.svg`, `rift.safetensors` and `probe.safetensors`.
    #[arg(long, value_name = "FOLDER", env = "RIFT_OUT")]
    out: PathBuf,
    /// Write the sweep as JSON here, too.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// How the way is searched.
#[derive(Clone, Debug, Args)]
pub struct WayArgs {
    /// The shares of the fine-tuned weights: `0,0.5,1`, or in equal steps `0,0.1..1`. Two more are
    /// looked at, 0.05 on either side of the best.
    #[arg(long, default_value = "0,0.1..1", env = "RIFT_ALPHAS")]
    alphas: String,
    /// Let the shares of `--alphas` go beyond 1, up to 2: past the fine-tuned weights, as in
    /// `0,0.1..1.3`.
    #[arg(long, env = "RIFT_EXTRAPOLATE", value_parser = clap::builder::FalseyValueParser::new())]
    extrapolate: bool,
    /// How far the robust accuracy may fall below that at 0, as a fraction.
    #[arg(long, default_value_t = 0.001, env = "RIFT_TOLERANCE", value_parser = tolerance)]
    tolerance: f64,
}

impl WayArgs {
    /// The settings for batches of `batch` images.
    ///
    /// # Errors
    /// If the shares are none, extrapolate without leave, or do not although they have it.
    pub(super) fn settings(
        &self,
        threat: AttackSpec,
        batch: usize,
    ) -> Result<SweepSettings, AlphasError> {
        let alphas = if self.extrapolate {
            Alphas::extrapolating(&self.alphas)?
        } else {
            self.alphas.parse()?
        };
        Ok(SweepSettings { alphas, refine: REFINE, tolerance: self.tolerance, threat, batch })
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| "expected a fraction from 0 to 1".to_owned())
}

/// Runs `interpolate`.
///
/// # Errors
/// If something cannot be read, or the two checkpoints do not belong together.
pub fn run(args: &InterpolateArgs) -> anyhow::Result<ExitCode> {
    args.places().check()?;
    let source = Source::read(&args.from, &args.machine, args.numbers)?;
    let (to, _, digest) = Checkpoint::read(&args.to)?;
    let threat = args.threat.spec(&source.meta, args.seed)?;
    let settings = args.way.settings(threat, args.batch_size)?;
    let validation = source.open(&args.data, Split::Validation, args.data.limit)?;
    let images = source.images(&validation)?;
    let end = End { checkpoint: &to, digest: &digest };
    let made = search(&source, end, &images, settings, args.machine.quiet)?;
    let shown = print(&made.report);
    write(&args.out, &made, &source, &validation)?;
    also_json(shown, args.json.as_deref(), &made.report)?;
    writeln!(std::io::stdout(), "wrote {}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

impl InterpolateArgs {
    fn places(&self) -> Places {
        Places::new()
            .reads("--from", self.from.as_path())
            .reads("--to", self.to.as_path())
            .reads("--data", self.data.data.as_path())
            .fills("--out", &self.out, FILES)
            .writes("--json", self.json.as_deref())
    }
}

/// The fine-tuned end.
#[derive(Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) digest: &'a Digest,
}

/// What the search found.
pub(super) struct Made {
    pub(super) report: SweepReport,
    pub(super) checkpoint: Checkpoint,
}

/// Searches the way between two checkpoints of one architecture.
pub(super) fn search(
    source: &Source,
    end: End<'_>,
    images: &Images,
    settings: SweepSettings,
    quiet: bool,
) -> anyhow::Result<Made> {
    let [from, to] = [&source.meta, &end.checkpoint.meta];
    anyhow::ensure!(
        from.arch == to.arch,
        "the two checkpoints are of different networks: {} and {}",
        serde_json::to_string(&from.arch)?,
        serde_json::to_string(&to.arch)?
    );
    check_classes(&from.classes, &to.classes)
        .context("the two checkpoints are of different classes, from `--from` to `--to`")?;
    if to.lineage.parents.get("checkpoint").is_some_and(|parent| *parent != source.digest) {
        tracing::warn!("the fine-tuned checkpoint was made from another one than `--from`");
    }
    let points = settings.alphas.values().len() + 2;
    let progress = Progress::new("interpolate", points * images.set.len(), quiet);
    let tensors = &end.checkpoint.tensors;
    let found = interpolate(&source.network, tensors, &images.set, &settings, &progress)?;
    drop(progress);
    let lineage = lineage(source, end, images, &settings, &found);
    let Sweep { points, chosen, state } = found;
    let report = SweepReport {
        modules: moved(source.network.graph(), &source.network.state()?, tensors),
        split: images.split.to_string(),
        tolerance: settings.tolerance,
        seed: settings.threat.seed,
        threat: settings.threat,
        points,
        chosen,
        lineage: lineage.clone(),
    };
    let meta = CheckpointMeta { lineage, ..source.meta.clone() };
    Ok(Made { report, checkpoint: Checkpoint { meta, tensors: state } })
}

fn lineage(
    source: &Source,
    end: End<'_>,
    images: &Images,
    settings: &SweepSettings,
    found: &Sweep,
) -> Lineage {
    let parents = [
        ("from", source.digest.clone()),
        ("to", end.digest.clone()),
        ("validation", images.digest.clone()),
    ];
    let ancestors = [("from", &source.meta.lineage), ("to", &end.checkpoint.meta.lineage)];
    Lineage {
        made_by: made_by("interpolate"),
        parents: parents.map(|(role, digest)| (role.to_owned(), digest)).into(),
        settings: json!({
            "alpha": found.chosen,
            "tolerance": settings.tolerance,
            "split": images.split.to_string(),
            "n": images.set.len(),
            "threat": settings.threat,
            "precision": source.network.precision(),
        }),
        ancestors: ancestors
            .map(|(role, lineage)| (role.to_owned(), lineage.clone()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    }
}

/// Writes `sweep.json` and its figure, `rift.safetensors` and its probe; gives the network and the digest.
pub(super) fn write(
    out: &Path,
    made: &Made,
    source: &Source,
    validation: &Dataset,
) -> anyhow::Result<(Network, Digest)> {
    let network = source.network.copy()?;
    network.set_state(&made.checkpoint.tensors)?;
    atomic::write_json(&out.join(SWEEP), &made.report)?;
    figures::sweep(&made.report).write(&out.join(figures::SWEEP))?;
    let digest = made.checkpoint.write(&out.join(CHOSEN))?;
    probe(&network, &digest, validation)?.write(&out.join(PROBE))?;
    Ok((network, digest))
}

/// Prints a row a point.
pub(super) fn print(report: &SweepReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let n = report.points.first().map_or(0, |point| point.clean.n);
    writeln!(out, "from the robust to the fine-tuned weights, {n} {} images", report.split)?;
    writeln!(out, "{:>6} {:>8} {:>8}  {}", "alpha", "clean %", "robust %", report.threat.label())?;
    for point in &report.points {
        let chosen = if point.alpha == report.chosen { "  chosen" } else { "" };
        let [clean, robust] = [point.clean.percent(), point.robust.percent()];
        writeln!(out, "{:>6} {clean:>8.2} {robust:>8.2}{chosen}", point.alpha)?;
    }
    writeln!(out, "{}", report.verdict())
}
