//! `rift-trainer ablate`: what to fine-tune, held against each other.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rift_models::artifact::{Ascent, Digest, Lineage, MrcReport, atomic, read_json};
use rift_models::dataset::{Dataset, Split};
use rift_models::threat::AttackSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::finetune::TrainingArgs;
use super::interpolate::WayArgs;
use super::mrc;
use super::mrc::AscentArgs;
use super::source::{Images, Source, ThreatArgs};
use super::tuning::{Corrupted, TestArgs, Tuned, Tuning};
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::network::Network;
use crate::record::Progress;
use crate::stage::ablate::{AblateReport, AblateRow, NAMES, Variant, variants};
use crate::stage::finetune::{FinetuneSettings, Scope};
use crate::stage::mrc::MrcSettings;
use crate::stage::rift::Comparison;
use crate::stage::{Exam, Judged};

/// Arguments of `ablate`. Each row chooses epoch and α on validation images and is reported on test
/// images; none is chosen by them.
#[derive(Debug, Args)]
pub struct AblateArgs {
    /// The robust checkpoint.
    #[arg(long, value_name = "FILE", env = "RIFT_CHECKPOINT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    threat: ThreatArgs,
    #[command(flatten)]
    test: TestArgs,
    /// Only these rows: all, last, most-1, least-1, least-2, least-3, least-5, least-1-frozen,
    /// statistics.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', env = "RIFT_ROWS")]
    rows: Vec<String>,
    /// The training images on which criticality is measured.
    #[arg(long, value_name = "N", default_value_t = mrc::IMAGES, env = "RIFT_MRC_LIMIT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    mrc_limit: usize,
    #[command(flatten)]
    ascent: AscentArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    way: WayArgs,
    /// Images in a batch of criticality and evaluation; nothing depends on it but the criticality of
    /// `--ascent reference`.
    #[arg(long, default_value_t = 250, env = "RIFT_EVAL_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    eval_batch_size: usize,
    /// The seed of noise, order and augmentation.
    #[arg(long, default_value_t = 0, env = "RIFT_SEED")]
    seed: u64,
    /// The folder for `mrc.json`, `ablate.json` and, in `rows/`, the files of each row. A row that is
    /// done is not done again.
    #[arg(long, value_name = "FOLDER", env = "RIFT_OUT")]
    out: PathBuf,
    /// Write the report as JSON here, too.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// What a row's folder holds beside its weights.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    settings: Value,
    row: AblateRow,
}

/// Runs `ablate`.
///
/// # Errors
/// If something cannot be read or written, or does not fit the checkpoint.
pub fn run(args: &AblateArgs) -> anyhow::Result<ExitCode> {
    for name in &args.rows {
        let known = NAMES.contains(&name.as_str());
        anyhow::ensure!(known, "no row `{name}`, expected some of {}", NAMES.join(", "));
    }
    Dataset::in_two_parts(&args.data.data)?;
    let source = Source::read(&args.checkpoint, &args.machine, args.numbers)?;
    let threat = args.threat.spec(&source.meta, args.seed)?;
    args.way.settings(threat.clone(), args.eval_batch_size)?;
    let input = source.meta.arch.input;
    args.training.settings(Scope::All, input, args.seed).check(input)?;
    let open = |split, limit| source.open(&args.data, split, limit);
    let test = open(Split::Test, args.data.limit)?;
    let validation = open(Split::Validation, args.data.limit)?;
    let images = [
        source.images(&open(Split::Train, args.data.limit)?)?,
        source.images(&validation)?,
        source.images(&test)?,
    ];
    let corrupted = args.test.corrupted((&source, &args.data), args.seed, args.eval_batch_size)?;
    let settings = Value::Null;
    let run = Run { args, source: &source, threat, images, validation, corrupted, settings };
    let run = Run { settings: run.settings()?, ..run };
    let (criticality, mrc) = run.criticality()?;
    let report = run.all(&criticality, &mrc)?;
    atomic::write_json(&args.out.join("ablate.json"), &report)?;
    if let Some(path) = &args.json {
        atomic::write_json(path, &report)?;
    }
    print(&report)?;
    writeln!(std::io::stdout(), "wrote {}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

struct Run<'a> {
    args: &'a AblateArgs,
    source: &'a Source,
    threat: AttackSpec,
    /// Training, validation and test images.
    images: [Images; 3],
    validation: Dataset,
    corrupted: Option<Corrupted>,
    settings: Value,
}

impl Run<'_> {
    fn settings(&self) -> anyhow::Result<Value> {
        let args = self.args;
        let ascent = args.ascent.settings(self.threat.clone(), args.eval_batch_size);
        let way = args.way.settings(self.threat.clone(), args.eval_batch_size)?;
        let input = self.source.meta.arch.input;
        let settings = json!({
            "checkpoint": self.source.digest,
            "data": self.images.each_ref().map(|images| &images.digest),
            "threat": self.threat,
            "precision": args.numbers.precision,
            "test": args.test.spec(&self.threat),
            "corruptions": args.test.describe_corruptions(args.seed),
            "mrc": { "images": args.mrc_limit, "ascent": ascent.describe() },
            "finetune": args.training.settings(Scope::All, input, args.seed).describe(),
            "interpolate": { "alphas": way.alphas.to_string(), "tolerance": way.tolerance },
        });
        // As it reads once it was written: a number may lose its last bit on the way.
        Ok(serde_json::from_slice(&serde_json::to_vec(&settings)?)?)
    }

    /// The criticality of an earlier call with the same settings, or measured now.
    fn criticality(&self) -> anyhow::Result<(MrcReport, Digest)> {
        let args = self.args;
        let path = args.out.join("mrc.json");
        let limit = args.data.limit.unwrap_or(usize::MAX).min(args.mrc_limit);
        let images =
            self.source.images(&self.source.open(&args.data, Split::Train, Some(limit))?)?;
        let settings = args.ascent.settings(self.threat.clone(), args.eval_batch_size);
        if path.exists() {
            let report: MrcReport = read_json(&path, "report of `mrc`")?;
            let same = self.is_ours(&report, &images, &settings);
            anyhow::ensure!(same, "{}", other_settings(&path));
            return Ok((report, Digest::of_file(&path)?));
        }
        let report = mrc::report(self.source, &images, settings, args.machine.quiet)?;
        let digest = mrc::write(&path, &report, self.source)?;
        mrc::print(&report)?;
        Ok((report, digest))
    }

    /// Whether a report is what these settings would give.
    fn is_ours(&self, report: &MrcReport, images: &Images, settings: &MrcSettings) -> bool {
        let Lineage { parents, settings: made_with, .. } = &report.lineage;
        let batch = settings.ascent != Ascent::Reference
            || made_with["batch_size"].as_u64() == Some(settings.batch as u64);
        parents.get("checkpoint") == Some(&self.source.digest)
            && parents.get("data") == Some(&images.digest)
            && (report.steps, report.ascent, report.joint)
                == (settings.steps, settings.ascent, settings.joint)
            && (report.radius - settings.radius).abs() < 1e-12
            && report.threat == settings.threat
            && made_with["precision"] == self.source.network.precision().to_string()
            && batch
    }

    /// Every row that was asked for.
    fn all(&self, criticality: &MrcReport, mrc: &Digest) -> anyhow::Result<AblateReport> {
        let variants = self.variants(criticality);
        let mut start: Option<Judged> = None;
        let mut rows = Vec::with_capacity(variants.len());
        for variant in &variants {
            let folder = self.args.out.join("rows").join(&variant.name);
            if let Some(row) = self.done(&folder)? {
                rows.push(row);
                continue;
            }
            if start.is_none() {
                start = Some(self.judge("start", &self.source.network)?);
            }
            let before = start.as_ref().context("the start was not judged")?;
            rows.push(self.row(variant, mrc, before, &folder)?);
        }
        let [_, validation, test] = &self.images;
        let parents = [("mrc", mrc), ("validation", &validation.digest), ("data", &test.digest)];
        Ok(AblateReport {
            split: test.split.to_string(),
            n: test.set.len(),
            threat: self.args.test.spec(&self.threat),
            seed: self.args.seed,
            settings: self.settings.clone(),
            rows,
            lineage: self.source.lineage("ablate", &parents, self.settings.clone()),
        })
    }

    fn variants(&self, criticality: &MrcReport) -> Vec<Variant> {
        let mut all = variants(self.source.network.graph(), criticality);
        all.retain(|variant| self.args.rows.is_empty() || self.args.rows.contains(&variant.name));
        // Where the flag asks for frozen statistics, every row but the last has them.
        let input = self.source.meta.arch.input;
        let policy = self.args.training.settings(Scope::All, input, 0).batch_norm;
        for variant in &mut all {
            if variant.scope != Scope::Statistics && !variant.name.ends_with("frozen") {
                variant.batch_norm = policy;
            }
        }
        all
    }

    /// The row of an earlier call with the same settings, if there is one.
    fn done(&self, folder: &Path) -> anyhow::Result<Option<AblateRow>> {
        let path = folder.join("row.json");
        if !path.exists() {
            return Ok(None);
        }
        let done: Done = read_json(&path, "row of `ablate`")?;
        anyhow::ensure!(done.settings == self.settings, "{}", other_settings(&path));
        Ok(Some(done.row))
    }

    /// Fine-tunes, chooses α, and judges both on the test images.
    fn row(
        &self,
        variant: &Variant,
        mrc: &Digest,
        start: &Judged,
        folder: &Path,
    ) -> anyhow::Result<AblateRow> {
        let (args, source) = (self.args, self.source);
        writeln!(std::io::stderr(), "row {}", variant.name)?;
        let [train, validation, _] = &self.images;
        let way = args.way.settings(self.threat.clone(), args.eval_batch_size)?;
        let tuning = Tuning { source, train, validation, way, quiet: args.machine.quiet };
        let settings =
            args.training.settings(variant.scope.clone(), source.meta.arch.input, args.seed);
        let settings = FinetuneSettings { batch_norm: variant.batch_norm, ..settings };
        let tuned: Tuned = tuning.tune(settings, mrc, folder)?;
        let (chosen, _) = tuned.write(folder, source, &self.validation)?;
        let end = source.network.copy()?;
        end.set_state(&tuned.checkpoint.tensors)?;
        let end = Comparison::of([start, &self.judge("fine-tuned", &end)?]);
        let alpha = tuned.made.report.chosen;
        let chosen = match alpha {
            0.0 => Comparison::of([start, start]),
            1.0 => end.clone(),
            _ => Comparison::of([start, &self.judge("chosen", &chosen)?]),
        };
        let row = AblateRow {
            name: variant.name.clone(),
            modules: tuned.finetuned.modules.clone(),
            batch_norm: variant.batch_norm,
            best_epoch: tuned.finetuned.best,
            alpha,
            tuned: end,
            chosen,
        };
        let done = Done { settings: self.settings.clone(), row };
        atomic::write_json(&folder.join("row.json"), &done)?;
        Ok(done.row)
    }

    fn judge(&self, what: &str, network: &Network) -> anyhow::Result<Judged> {
        let exam = Exam {
            images: &self.images[2].set,
            threat: &self.args.test.spec(&self.threat),
            batch: self.args.eval_batch_size,
            survey: self.corrupted.as_ref().map(|c| (&c.survey, &c.images)),
        };
        let progress = Progress::new("test", exam.len(), self.args.machine.quiet);
        Ok(exam.judge(what, network, &progress)?)
    }
}

fn other_settings(path: &Path) -> String {
    format!("`{}` was made with other settings or images, expected another `--out`", path.display())
}

/// Prints a row a row: at the chosen point, then at α = 1, with changes in points.
fn print(report: &AblateReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let AblateReport { n, split, threat, rows, .. } = report;
    writeln!(out, "{n} {split} images, {}; changes in points", threat.label())?;
    let head = ["clean %", "robust %", "ood %"].map(|name| format!("{name:>22}"));
    let is_corrupted = rows.iter().any(|row| row.chosen.corruptions.is_some());
    let head = if is_corrupted { &head[..] } else { &head[..2] };
    writeln!(out, "{:<15} {:>6} {}", "", "alpha", head.join(" "))?;
    if let Some(first) = rows.first() {
        let Comparison { before, corruptions, .. } = &first.chosen;
        let [clean, robust] = [before.clean.percent(), before.robust.percent()];
        write!(out, "{:<15} {:>6} {clean:>22.2} {robust:>22.2}", "start", 0)?;
        let corrupted = corruptions.as_ref().and_then(|found| found.first());
        let corrupted = corrupted.map(|([before, _], _)| before.fraction * 100.0);
        writeln!(out, "{}", corrupted.map_or_else(String::new, |value| format!(" {value:>22.2}")))?;
    }
    for row in rows {
        for (alpha, found) in [(row.alpha, &row.chosen), (1.0, &row.tuned)] {
            let after = &found.after;
            let [clean, robust] = found.points();
            let cells = [
                (after.clean.percent(), clean, found.clean_test.p()),
                (after.robust.percent(), robust, found.robust_test.p()),
            ]
            .map(|(value, change, p)| format!("{value:>6.2} {change:+.2} {p}"));
            let name = if alpha == row.alpha { row.name.as_str() } else { "" };
            write!(out, "{name:<15} {alpha:>6} {:>22} {:>22}", cells[0], cells[1])?;
            let corrupted = found.corruptions.as_ref().and_then(|found| found.first());
            let corrupted = corrupted.map_or_else(String::new, |([_, after], change)| {
                let value = after.fraction * 100.0;
                let change = format!("{value:.2} {:+.2}", change.change * 100.0);
                format!(" {change:>22}")
            });
            writeln!(out, "{corrupted}")?;
            if row.alpha == 1.0 {
                break;
            }
        }
    }
    Ok(())
}
