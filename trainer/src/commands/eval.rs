//! `rift-trainer eval`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use ndarray::Ix4;
use rift_models::artifact::{Accuracy, CorruptionReport, Digest, atomic};
use rift_models::dataset::{Dataset, Saved, Split};
use rift_models::threat::{AttackSpec, Epsilon, Norm};
use serde::Serialize;

use super::corruptions::CorruptionArgs;
use super::given::Given;
use super::output::also_json;
use super::places::Places;
use super::source::ball;
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::data::ImageSet;
use crate::network::{Network, Precision, to_array};
use crate::record::Progress;
use crate::stage::{Evaluation, Plan, corrupted, evaluate, probe};

/// More restarts than anybody waits for are a slip of the pen.
pub(super) const MOST_RESTARTS: u64 = 1_000_000;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    given: Given,
    /// The checkpoint.
    #[arg(long, value_name = "FILE", env = "RIFT_CHECKPOINT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The images: `train`, `validation` or `test`.
    #[arg(long, default_value_t = Split::Test, env = "RIFT_SPLIT")]
    split: Split,
    #[command(flatten)]
    attack: AttackArgs,
    #[command(flatten)]
    corruptions: CorruptionArgs,
    /// Images in a batch.
    #[arg(long, default_value_t = 256, env = "RIFT_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    batch_size: usize,
    /// The seed of the attack's noise.
    #[arg(long, default_value_t = 0, env = "RIFT_SEED")]
    seed: u64,
    /// Write the result as JSON.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    /// Write the adversarial images as `.npz` with `x` (float32, N × C × H × W), `y`, `index` and
    /// `classes`, which `--data` reads.
    #[arg(long, value_name = "PATH", env = "RIFT_SAVE_ADVERSARIAL")]
    save_adversarial: Option<PathBuf>,
    /// Write the first images with the checkpoint's logits, against which `rift-exporter export`
    /// holds the ONNX file.
    #[arg(long, value_name = "PATH", env = "RIFT_PROBE")]
    probe: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// An attack by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttackName {
    /// Projected gradient descent.
    Pgd,
    /// No attack: clean accuracy only.
    None,
}

/// The attack, with the checkpoint's own threat as default.
#[derive(Debug, Args)]
pub struct AttackArgs {
    /// The attack.
    #[arg(long, value_enum, default_value_t = AttackName::Pgd, env = "RIFT_ATTACK")]
    attack: AttackName,
    /// The norm, `linf` or `l2`; by default the one that the checkpoint was trained against.
    #[arg(long, env = "RIFT_NORM")]
    norm: Option<Norm>,
    /// The radius in pixel units, such as `8/255`; by default the checkpoint's.
    #[arg(long, env = "RIFT_EPS")]
    eps: Option<Epsilon>,
    /// The length of a step in pixel units; by default a quarter of the radius.
    #[arg(long, env = "RIFT_STEP")]
    step: Option<Epsilon>,
    /// Gradient steps.
    #[arg(long, default_value_t = 20, env = "RIFT_STEPS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    steps: usize,
    /// Random starts, of which the worst counts.
    #[arg(long, default_value_t = 1, env = "RIFT_RESTARTS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MOST_RESTARTS))]
    restarts: usize,
}

impl AttackArgs {
    /// The attack for images of `input`, with what is not given taken from `threat`.
    ///
    /// # Errors
    /// If no attack can be made of it.
    pub fn spec(
        &self,
        threat: Option<&AttackSpec>,
        input: [usize; 3],
        seed: u64,
    ) -> anyhow::Result<Option<AttackSpec>> {
        if self.attack == AttackName::None {
            return Ok(None);
        }
        let (norm, eps) = ball(threat, self.norm, self.eps.as_ref())?;
        let step = self.step.clone().unwrap_or_else(|| eps.quarter());
        let spec = AttackSpec {
            norm,
            eps,
            step,
            steps: self.steps,
            restarts: self.restarts,
            random_start: true,
            early_stop: true,
            seed,
        };
        spec.validate(input.iter().product())?;
        Ok(Some(spec))
    }
}

/// What `--json` holds.
#[derive(Debug, Serialize)]
struct EvalReport<'a> {
    checkpoint: Digest,
    data: &'a Digest,
    split: Split,
    n: usize,
    seed: u64,
    /// What steered the attack; verdicts are in `float32`.
    precision: Precision,
    clean: Accuracy,
    #[serde(skip_serializing_if = "Option::is_none")]
    robust: Option<Accuracy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attack: Option<&'a AttackSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corruptions: Option<CorruptionReport>,
}

/// Runs `eval`.
///
/// # Errors
/// If something cannot be read, or does not fit the checkpoint.
pub fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    args.check()?;
    let device = args.machine.start(args.numbers.precision)?;
    let (network, meta, checkpoint) = Network::read(&args.checkpoint, device)?;
    let network = network.with_precision(args.numbers.precision);
    let spec = args.attack.spec(meta.threat.as_ref(), meta.arch.input, args.seed)?;
    let dataset = args.data.open(args.split)?;
    super::check_fit(&meta, &dataset)?;
    if let Some(survey) = args.corruptions.survey(args.seed, args.batch_size) {
        survey.check(&dataset)?;
    }
    let set = ImageSet::new(&dataset, device)?;
    let plan = Plan {
        batch: args.batch_size,
        attack: spec.as_ref(),
        keep_images: args.save_adversarial.is_some(),
        ..Plan::clean()
    };
    let progress = Progress::new("eval", set.len(), args.machine.quiet);
    let evaluation = evaluate(&network, &set, &plan, &progress)?;
    drop(progress);
    let corruptions = args.corrupted(&network, &dataset)?;
    let probe = args.probe.as_ref().map(|_| probe(&network, &checkpoint, &dataset)).transpose()?;
    let report = EvalReport {
        checkpoint,
        data: &dataset.digest,
        split: args.split,
        n: set.len(),
        seed: args.seed,
        precision: args.numbers.precision,
        clean: evaluation.clean_accuracy(),
        robust: spec.is_some().then(|| evaluation.robust_accuracy()),
        attack: spec.as_ref(),
        corruptions,
    };
    let shown = print(&report);
    if let (Some(path), Some(probe)) = (&args.probe, probe) {
        probe.write(path)?;
    }
    if let Some(path) = &args.save_adversarial {
        save_adversarial(path, &evaluation, &dataset)?;
    }
    also_json(shown, args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

impl EvalArgs {
    /// Checks what needs neither checkpoint nor images.
    fn check(&self) -> anyhow::Result<()> {
        self.corruptions.check()?;
        if self.attack.attack == AttackName::None {
            if self.save_adversarial.is_some() {
                anyhow::bail!("`--save-adversarial` needs an attack, found `--attack none`");
            }
            let idle = self.given.first(&["norm", "eps", "step", "steps", "restarts"]);
            if let Some(flag) = idle {
                anyhow::bail!("`--{flag}` has no effect with `--attack none`");
            }
        }
        Places::new()
            .reads("--checkpoint", self.checkpoint.as_path())
            .reads("--data", self.data.data.as_path())
            .writes("--probe", self.probe.as_deref())
            .writes("--save-adversarial", self.save_adversarial.as_deref())
            .writes("--json", self.json.as_deref())
            .check()
    }

    /// The accuracy under the corruptions that are asked for.
    fn corrupted(
        &self,
        network: &Network,
        dataset: &Dataset,
    ) -> anyhow::Result<Option<CorruptionReport>> {
        let Some(survey) = self.corruptions.survey(self.seed, self.batch_size) else {
            return Ok(None);
        };
        let progress = Progress::new("corruptions", survey.images(dataset), self.machine.quiet);
        Ok(Some(corrupted(network, (&survey, dataset), &progress)?.report()))
    }
}

fn print(report: &EvalReport<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<24} {}", format!("clean ({})", report.split), report.clean)?;
    if let (Some(robust), Some(spec)) = (&report.robust, report.attack) {
        writeln!(out, "{:<24} {robust}", spec.label())?;
    }
    if let Some(corruptions) = &report.corruptions {
        write!(out, "\n{}", corruptions.table())?;
    }
    Ok(())
}

fn save_adversarial(
    path: &std::path::Path,
    evaluation: &Evaluation,
    dataset: &Dataset,
) -> anyhow::Result<()> {
    let images = evaluation.images.as_ref().context("no adversarial images were kept")?;
    let x = to_array(images)?.into_dimensionality::<Ix4>()?;
    let index: Vec<usize> = (0..dataset.len()).collect();
    let (y, classes) = (dataset.labels.as_slice(), dataset.classes.as_slice());
    let saved = Saved { x: x.view(), y, index: &index, classes };
    atomic::write_with(path, |file| saved.write(file))?;
    Ok(())
}
