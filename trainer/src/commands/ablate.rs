//! `rift-trainer ablate`: what to fine-tune, held against each other.

mod print;

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
use super::mrc::AscentArgs;
use super::output::also_json;
use super::places::Places;
use super::source::{Images, Source, ThreatArgs};
use super::tuning::{Corrupted, FINETUNED, TestArgs, Tuned, Tuning, diverged_in};
use super::{interpolate, mrc};
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::network::Network;
use crate::record::{Progress, figures};
use crate::stage::ablate::{AblateReport, AblateRow, DivergedRow, NAMES, Variant, variants};
use crate::stage::finetune::{FinetuneSettings, Scope};
use crate::stage::mrc::MrcSettings;
use crate::stage::rift::Comparison;
use crate::stage::{Exam, Judged};

use print::print;

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
struct Done {
    settings: Value,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What became of a row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Row(Box<AblateRow>),
    Diverged(DivergedRow),
}

const MRC: &str = "mrc.json";
const REPORT: &str = "ablate.json";
const ROW: &str = "row.json";

/// What is written into the folder.
fn files() -> Vec<PathBuf> {
    let each = [FINETUNED, ROW].into_iter().chain(interpolate::FILES);
    let rows = NAMES.map(|name| Path::new("rows").join(name));
    let rows = rows.iter().flat_map(|row| each.clone().map(move |file| row.join(file)));
    rows.chain([MRC, figures::MRC, REPORT].map(PathBuf::from)).collect()
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
    Places::new()
        .reads("--checkpoint", args.checkpoint.as_path())
        .reads("--data", args.data.data.as_path())
        .fills("--out", &args.out, files())
        .writes("--json", args.json.as_deref())
        .check()?;
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
    let shown = print(&report);
    atomic::write_json(&args.out.join(REPORT), &report)?;
    also_json(shown, args.json.as_deref(), &report)?;
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
        let path = args.out.join(MRC);
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
        let (mut rows, mut diverged) = (Vec::new(), Vec::new());
        for variant in &variants {
            let folder = self.args.out.join("rows").join(&variant.name);
            let outcome = match self.done(&folder)? {
                Some(outcome) => outcome,
                None => self.outcome(variant, mrc, &mut start, &folder)?,
            };
            match outcome {
                Outcome::Row(row) => rows.push(*row),
                Outcome::Diverged(row) => diverged.push(row),
            }
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
            diverged,
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

    /// What became of the row in an earlier call with the same settings, if there was one.
    fn done(&self, folder: &Path) -> anyhow::Result<Option<Outcome>> {
        let path = folder.join(ROW);
        if !path.exists() {
            return Ok(None);
        }
        let done: Done = read_json(&path, "row of `ablate`")?;
        anyhow::ensure!(done.settings == self.settings, "{}", other_settings(&path));
        Ok(Some(done.outcome))
    }

    /// What becomes of the row, kept in its folder.
    fn outcome(
        &self,
        variant: &Variant,
        mrc: &Digest,
        start: &mut Option<Judged>,
        folder: &Path,
    ) -> anyhow::Result<Outcome> {
        writeln!(std::io::stderr(), "row {}", variant.name)?;
        let outcome = match self.tune(variant, mrc, folder) {
            Ok(tuned) => {
                if start.is_none() {
                    *start = Some(self.judge("start", &self.source.network)?);
                }
                let before = start.as_ref().context("the start was not judged")?;
                Outcome::Row(Box::new(self.row(variant, &tuned, before, folder)?))
            }
            Err(error) => Outcome::Diverged(DivergedRow {
                epoch: diverged_in(error)?,
                name: variant.name.clone(),
                modules: variant.scope.modules(self.source.network.graph())?,
                batch_norm: variant.batch_norm,
            }),
        };
        let done = Done { settings: self.settings.clone(), outcome };
        atomic::write_json(&folder.join(ROW), &done)?;
        Ok(done.outcome)
    }

    /// Fine-tunes and chooses α.
    fn tune(&self, variant: &Variant, mrc: &Digest, folder: &Path) -> anyhow::Result<Tuned> {
        let (args, source) = (self.args, self.source);
        let [train, validation, _] = &self.images;
        let way = args.way.settings(self.threat.clone(), args.eval_batch_size)?;
        let tuning = Tuning { source, train, validation, way, quiet: args.machine.quiet };
        let settings =
            args.training.settings(variant.scope.clone(), source.meta.arch.input, args.seed);
        let settings = FinetuneSettings { batch_norm: variant.batch_norm, ..settings };
        tuning.tune(settings, mrc, folder)
    }

    /// Judges both ends and the chosen point on the test images.
    fn row(
        &self,
        variant: &Variant,
        tuned: &Tuned,
        start: &Judged,
        folder: &Path,
    ) -> anyhow::Result<AblateRow> {
        let source = self.source;
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
        Ok(AblateRow {
            name: variant.name.clone(),
            modules: tuned.finetuned.modules.clone(),
            batch_norm: variant.batch_norm,
            best_epoch: tuned.finetuned.best,
            alpha,
            tuned: end,
            chosen,
        })
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
