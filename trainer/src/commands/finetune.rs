//! `rift-trainer finetune`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rift_models::arch::Graph;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Digest, MrcReport, MrcRow, read_json};
use rift_models::dataset::Split;
use serde_json::json;

use super::output::also_json;
use super::places::Places;
use super::source::{Images, Source};
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::data::Augment;
use crate::record::Progress;
use crate::stage::finetune::{BatchNormPolicy, FinetuneSettings, Finetuned, Scope, finetune};

/// More epochs than anybody waits for are a slip of the pen.
pub(super) const MOST_EPOCHS: u64 = 1_000_000;

/// Arguments of `finetune`.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// The checkpoint.
    #[arg(long, value_name = "FILE", env = "RIFT_CHECKPOINT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    training: TrainingArgs,
    /// The seed of order and augmentation.
    #[arg(long, default_value_t = 0, env = "RIFT_SEED")]
    seed: u64,
    /// The checkpoint to write.
    #[arg(long, value_name = "FILE", env = "RIFT_OUT")]
    out: PathBuf,
    /// Write the epochs as JSON.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// What moves.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeArgs {
    /// The module to fine-tune, by its exact name; several, separated by commas or one flag each.
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "RIFT_MODULE")]
    module: Vec<String>,
    /// A report of `mrc`, of which the least critical module is taken; `--top` takes more of them,
    /// `--rank most` the other end.
    #[arg(long, value_name = "FILE", env = "RIFT_MRC")]
    mrc: Option<PathBuf>,
    /// Instead of a module by name.
    #[arg(long, env = "RIFT_SCOPE")]
    scope: Option<WholeScope>,
}

/// Which modules of a report.
#[derive(Clone, Copy, Debug, Args)]
pub struct PickArgs {
    /// How many of the report's modules to fine-tune together.
    #[arg(long, value_name = "K", default_value_t = 1, env = "RIFT_TOP", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(super) top: usize,
    /// From which end of the report they are taken.
    #[arg(long, value_enum, default_value_t, env = "RIFT_RANK")]
    pub(super) rank: Rank,
}

/// An end of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Rank {
    /// The least critical modules, as RiFT has it.
    #[default]
    Least,
    /// The most critical ones, for comparison.
    Most,
}

impl PickArgs {
    /// The rows that are meant, the first of its end first.
    ///
    /// # Errors
    /// If the report has fewer, or one of them twice.
    pub(super) fn rows<'a>(&self, report: &'a MrcReport) -> anyhow::Result<Vec<&'a MrcRow>> {
        let rows = match self.rank {
            Rank::Least => report.least(self.top),
            Rank::Most => report.most(self.top),
        };
        anyhow::ensure!(
            rows.len() == self.top,
            "expected at least {} modules in the report of `mrc`, found {}",
            self.top,
            rows.len()
        );
        let names: BTreeSet<&str> = rows.iter().map(|row| row.module.as_str()).collect();
        anyhow::ensure!(
            names.len() == rows.len(),
            "expected each module once in the report of `mrc`, found one more often"
        );
        Ok(rows)
    }

    /// Checks that the network has so many modules, before they are measured.
    ///
    /// # Errors
    /// If it has fewer.
    pub(super) fn check(&self, graph: &Graph) -> anyhow::Result<()> {
        let (top, count) = (self.top, graph.modules().count());
        anyhow::ensure!(top <= count, "expected `--top` of 1 to {count} modules, found {top}");
        Ok(())
    }

    fn is_given(&self) -> bool {
        self.top != 1 || self.rank != Rank::Least
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum WholeScope {
    /// Every parameter.
    All,
    /// The module that gives the logits.
    Last,
    /// No parameter: only the running statistics are estimated anew on clean images.
    Statistics,
}

impl ScopeArgs {
    /// What moves of the checkpoint with this digest, and the digest of the report that said so.
    fn resolve(
        &self,
        pick: &PickArgs,
        checkpoint: &Digest,
    ) -> anyhow::Result<(Scope, Option<Digest>)> {
        anyhow::ensure!(
            self.mrc.is_some() || !pick.is_given(),
            "`--top` and `--rank` pick from a report, which `--mrc` names"
        );
        if let Some(path) = &self.mrc {
            let report: MrcReport = read_json(path, "report of `mrc`")?;
            let digest = Digest::of_file(path)?;
            if report.lineage.parents.get("checkpoint").is_some_and(|of| of != checkpoint) {
                tracing::warn!(
                    "the report of `mrc` was made of another checkpoint than `--checkpoint`"
                );
            }
            let rows = pick.rows(&report).with_context(|| format!("`{}`", path.display()))?;
            let names = rows.into_iter().map(|row| row.module.clone()).collect();
            return Ok((Scope::Modules(names), Some(digest)));
        }
        let scope = match self.scope {
            Some(WholeScope::All) => Scope::All,
            Some(WholeScope::Last) => Scope::Last,
            Some(WholeScope::Statistics) => Scope::Statistics,
            None => Scope::Modules(self.module.clone()),
        };
        Ok((scope, None))
    }
}

/// How it moves.
#[derive(Clone, Debug, Args)]
pub struct TrainingArgs {
    /// What batch normalisation does: `reference` trains with the batch's statistics and lets all
    /// running ones drift, `frozen` leaves them alone.
    #[arg(long, value_enum, default_value_t, env = "RIFT_BATCH_NORM")]
    batch_norm: BatchNormPolicy,
    /// The learning rate of the first half; a tenth of it in the second.
    #[arg(long, visible_alias = "learning-rate", default_value_t = 1e-3, env = "RIFT_LR", value_parser = super::positive)]
    lr: f64,
    /// Passes over the images.
    #[arg(long, default_value_t = 10, env = "RIFT_EPOCHS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MOST_EPOCHS))]
    epochs: usize,
    /// Images in a batch.
    #[arg(long, default_value_t = 128, env = "RIFT_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..))]
    batch_size: usize,
    /// Pixels of reflection around an image before it is cropped; an eighth of its side by default.
    #[arg(long, value_name = "PIXELS", env = "RIFT_PAD")]
    pad: Option<usize>,
    /// Whether to mirror half of the images; by default where they have three channels.
    #[arg(long, value_name = "BOOL", env = "RIFT_FLIP")]
    flip: Option<bool>,
}

/// Runs `finetune`.
///
/// # Errors
/// If something cannot be read, does not fit the checkpoint, or the training diverges.
pub fn run(args: &FinetuneArgs) -> anyhow::Result<ExitCode> {
    args.places().check()?;
    let source = Source::read(&args.checkpoint, &args.machine, args.numbers)?;
    let (scope, mrc) = args.scope.resolve(&args.pick, &source.digest)?;
    // A wrong name should not wait for the images.
    scope.modules(source.network.graph())?;
    let settings = args.training.settings(scope, source.meta.arch.input, args.seed);
    settings.check(source.meta.arch.input)?;
    let images = |split| source.images(&source.open(&args.data, split, args.data.limit)?);
    let [train, validation] = [images(Split::Train)?, images(Split::Validation)?];
    let images = [&train, &validation];
    let (finetuned, checkpoint) =
        checkpoint(&source, images, (&settings, mrc), args.machine.quiet)?;
    let digest = checkpoint.write(&args.out)?;
    let shown = print(&finetuned, &settings);
    let Finetuned { modules, epochs, best, .. } = &finetuned;
    let report = json!({
        "modules": modules, "epochs": epochs, "best": best, "checkpoint": digest,
        "split": validation.split, "lineage": checkpoint.meta.lineage,
    });
    also_json(shown, args.json.as_deref(), &report)?;
    writeln!(std::io::stdout(), "wrote {}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

impl FinetuneArgs {
    fn places(&self) -> Places {
        Places::new()
            .reads("--checkpoint", self.checkpoint.as_path())
            .reads("--data", self.data.data.as_path())
            .reads("--mrc", self.scope.mrc.as_deref())
            .writes("--out", self.out.as_path())
            .writes("--json", self.json.as_deref())
    }
}

impl TrainingArgs {
    /// The settings for images of `input`.
    pub(super) fn settings(&self, scope: Scope, input: [usize; 3], seed: u64) -> FinetuneSettings {
        let paper = FinetuneSettings::paper(scope, input);
        let augment = Augment {
            pad: self.pad.unwrap_or(paper.augment.pad),
            flip: self.flip.unwrap_or(paper.augment.flip),
        };
        FinetuneSettings {
            augment,
            batch_norm: self.batch_norm,
            lr: self.lr,
            epochs: self.epochs,
            batch: self.batch_size,
            seed,
            ..paper
        }
    }
}

/// Fine-tunes and makes a checkpoint of the best epoch.
pub(super) fn checkpoint(
    source: &Source,
    [train, validation]: [&Images; 2],
    (settings, mrc): (&FinetuneSettings, Option<Digest>),
    quiet: bool,
) -> anyhow::Result<(Finetuned, Checkpoint)> {
    let progress =
        Progress::new("finetune", settings.epochs.saturating_mul(train.set.len()), quiet);
    let sets = [&train.set, &validation.set];
    let finetuned = finetune(&source.network, sets, settings, &progress)?;
    drop(progress);
    let mut made_with = settings.describe();
    made_with["modules"] = json!(finetuned.modules);
    made_with["n"] = json!(train.set.len());
    made_with["best_epoch"] = json!(finetuned.best);
    let mut parents = vec![("data", &train.digest), ("validation", &validation.digest)];
    parents.extend(mrc.as_ref().map(|digest| ("mrc", digest)));
    let lineage = source.lineage("finetune", &parents, made_with);
    let meta = CheckpointMeta { lineage, ..source.meta.clone() };
    let tensors = finetuned.state.clone();
    Ok((finetuned, Checkpoint { meta, tensors }))
}

/// Prints a row an epoch.
pub(super) fn print(finetuned: &Finetuned, settings: &FinetuneSettings) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let modules = match finetuned.modules.as_slice() {
        [] => "running statistics only".to_owned(),
        [first] => first.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    writeln!(out, "fine-tuned {modules}, batch normalisation {}", settings.batch_norm)?;
    writeln!(out, "{:>5} {:>8} {:>8}  clean (validation)", "epoch", "lr", "loss")?;
    for row in &finetuned.epochs {
        let best = if row.epoch == finetuned.best { "  kept" } else { "" };
        writeln!(out, "{:>5} {:>8} {:>8.4}  {}{best}", row.epoch, row.lr, row.loss, row.clean)?;
    }
    Ok(())
}
