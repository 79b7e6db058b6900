//! `rift-trainer rift`: `mrc`, `finetune` and `interpolate`, and what came of it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rift_models::artifact::{Accuracy, Digest, MrcReport, PairedTest, atomic};
use rift_models::dataset::{Dataset, Split};
use rift_models::threat::AttackSpec;
use serde_json::json;

use super::finetune::TrainingArgs;
use super::interpolate::{End, WayArgs};
use super::mrc::AscentArgs;
use super::source::{Images, Source, ThreatArgs};
use super::{finetune, interpolate, mrc};
use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::record::{Progress, figures};
use crate::stage::finetune::Scope;
use crate::stage::rift::{RiftReport, compare};

/// Arguments of `rift`. A module is chosen on training images, epoch and α on validation images;
/// the test images are looked at once, at the end.
#[derive(Debug, Args)]
pub struct RiftArgs {
    /// The robust checkpoint.
    #[arg(long, value_name = "FILE", env = "RIFT_CHECKPOINT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    threat: ThreatArgs,
    /// Fine-tune this module instead of the least critical one.
    #[arg(long, value_name = "NAME", env = "RIFT_MODULE")]
    module: Option<String>,
    /// The training images on which criticality is measured.
    #[arg(long, value_name = "N", default_value_t = mrc::IMAGES, env = "RIFT_MRC_LIMIT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    mrc_limit: usize,
    #[command(flatten)]
    ascent: AscentArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    way: WayArgs,
    /// Images in a batch of criticality and evaluation; the verdicts do not depend on it.
    #[arg(long, default_value_t = 250, env = "RIFT_EVAL_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    eval_batch_size: usize,
    /// The seed of noise, order and augmentation.
    #[arg(long, default_value_t = 0, env = "RIFT_SEED")]
    seed: u64,
    /// The folder for `mrc.json`, `finetuned.safetensors`, `sweep.json`, `rift.safetensors`,
    /// `probe.safetensors` and `rift.json`, and for the figures `mrc.svg` and `sweep.svg`.
    #[arg(long, value_name = "FOLDER", env = "RIFT_OUT")]
    out: PathBuf,
    /// Write the final report as JSON here, too.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs `rift`.
///
/// # Errors
/// If something cannot be read or written, or does not fit the checkpoint.
pub fn run(args: &RiftArgs) -> anyhow::Result<ExitCode> {
    let source = Source::read(&args.checkpoint, &args.machine, args.numbers)?;
    let threat = args.threat.spec(&source.meta, args.seed)?;
    if let Some(name) = &args.module {
        source.network.graph().module(name)?;
    }
    let run = Run { args, source: &source, threat };
    // The test images are read first, so that their absence shows now and not in an hour.
    let test = source.open(&args.data, Split::Test, args.data.limit)?;
    let validation = source.open(&args.data, Split::Validation, args.data.limit)?;
    let (criticality, mrc_digest) = run.criticality()?;
    mrc::print(&criticality)?;
    let report = run.tune(&criticality, &mrc_digest, [&validation, &test])?;
    atomic::write_json(&args.out.join("rift.json"), &report)?;
    if let Some(path) = &args.json {
        atomic::write_json(path, &report)?;
    }
    print(&report)?;
    writeln!(std::io::stdout(), "wrote {}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

struct Run<'a> {
    args: &'a RiftArgs,
    source: &'a Source,
    threat: AttackSpec,
}

impl Run<'_> {
    /// Measures criticality and writes `mrc.json`.
    fn criticality(&self) -> anyhow::Result<(MrcReport, Digest)> {
        let args = self.args;
        let limit = args.data.limit.unwrap_or(usize::MAX).min(args.mrc_limit);
        let images = self.source.open(&args.data, Split::Train, Some(limit))?;
        let images = self.source.images(&images)?;
        let settings = args.ascent.settings(self.threat.clone(), args.eval_batch_size);
        let report = mrc::report(self.source, &images, settings, args.machine.quiet)?;
        let digest = atomic::write_json(&args.out.join("mrc.json"), &report)?;
        mrc::figure(self.source, &report).write(&args.out.join(figures::MRC))?;
        Ok((report, digest))
    }

    /// Fine-tunes a module, chooses α and reports on the test images.
    fn tune(
        &self,
        criticality: &MrcReport,
        mrc: &Digest,
        [validation, test]: [&Dataset; 2],
    ) -> anyhow::Result<RiftReport> {
        let (args, source, quiet) = (self.args, self.source, self.args.machine.quiet);
        let module = match &args.module {
            Some(name) => criticality.rows.iter().find(|row| row.module == *name),
            None => criticality.least_critical(),
        };
        let module = module.context("the network has no such module")?;
        let scope = Scope::Modules(vec![module.module.clone()]);
        let settings = args.training.settings(scope, source.meta.arch.input, args.seed);
        let images = source.images(validation)?;
        let (tuned, checkpoint) = {
            let train =
                source.images(&source.open(&args.data, Split::Train, args.data.limit)?)?;
            let sets = [&train, &images];
            finetune::checkpoint(source, sets, (&settings, Some(mrc.clone())), quiet)?
        };
        let tuned_digest = checkpoint.write(&args.out.join("finetuned.safetensors"))?;
        finetune::print(&tuned, &settings)?;
        let end = End { checkpoint: &checkpoint, digest: &tuned_digest };
        let settings = args.way.settings(self.threat.clone(), args.eval_batch_size);
        let made = interpolate::search(source, end, &images, settings, quiet)?;
        let (network, digest) = interpolate::write(&args.out, &made, source, validation)?;
        interpolate::print(&made.report)?;

        let test = source.images(test)?;
        let progress = Progress::new("test", 2 * test.set.len(), quiet);
        let how = (&self.threat, args.eval_batch_size);
        let result = compare([&source.network, &network], &test.set, how, &progress)?;
        drop(progress);
        let parents =
            [("mrc", mrc), ("finetuned", &tuned_digest), ("rift", &digest), ("data", &test.digest)];
        let alpha = made.report.chosen;
        Ok(RiftReport {
            module: module.clone(),
            alpha,
            split: test.split.to_string(),
            n: test.set.len(),
            threat: self.threat.clone(),
            seed: args.seed,
            result,
            lineage: self.lineage(&parents, &images),
            checkpoint: digest,
        })
    }

    fn lineage(
        &self,
        parents: &[(&str, &Digest)],
        validation: &Images,
    ) -> rift_models::artifact::Lineage {
        let made_with = json!({ "validation": validation.digest, "threat": self.threat });
        self.source.lineage("rift", parents, made_with)
    }
}

fn print(report: &RiftReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let RiftReport { module, alpha, split, n, threat, result, .. } = report;
    writeln!(
        out,
        "RiFT of {} at alpha {alpha}: {n} {split} images, {}",
        module.module,
        threat.label()
    )?;
    writeln!(out, "{:7} {:>36} {:>36}  change", "", "before", "after")?;
    let mut row = |name, before: &Accuracy, after: &Accuracy, test: &PairedTest| {
        let change = after.percent() - before.percent();
        let PairedTest { lost, gained, p_value } = test;
        let (before, after) = (before.to_string(), after.to_string());
        writeln!(
            out,
            "{name:7} {before:>36} {after:>36}  {change:+.2} points (+{gained} −{lost}, p {p_value:.3})"
        )
    };
    let (before, after) = (&result.before, &result.after);
    row("clean", &before.clean, &after.clean, &result.clean_test)?;
    row("robust", &before.robust, &after.robust, &result.robust_test)
}
