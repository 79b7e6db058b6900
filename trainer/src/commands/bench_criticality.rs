//! `rift-trainer bench-criticality`: what criticality costs beside the reference's way.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use rift_models::arch::ArchSpec;
use rift_models::artifact::Ascent;
use rift_models::threat::AttackSpec;
use serde::Serialize;

use super::output::also_json;
use super::places::Places;
use crate::cli::{MachineArgs, PrecisionArgs};
use crate::data::ImageSet;
use crate::network::{Network, device};
use crate::record::Progress;
use crate::stage::mrc::{MrcSettings, measure};

/// Arguments of `bench-criticality`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The architecture.
    #[arg(long, default_value = "resnet18", env = "RIFT_ARCH")]
    arch: String,
    /// Channels of the first stage, where the architecture lets them be chosen.
    #[arg(long, value_name = "N", env = "RIFT_WIDTH")]
    width: Option<usize>,
    /// Side of the images.
    #[arg(long, value_name = "N", default_value_t = 32, env = "RIFT_SIDE")]
    side: usize,
    /// Images.
    #[arg(long, value_name = "N", default_value_t = 64, env = "RIFT_LIMIT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    /// Images in one pass.
    #[arg(long, value_name = "N", default_value_t = 64, env = "RIFT_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    batch_size: usize,
    /// Ascent steps, or epochs of the reference.
    #[arg(long, value_name = "N", default_value_t = 10, env = "RIFT_ASCENT_STEPS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    ascent_steps: usize,
    /// Rounds; each measures both ways, in an order that alternates.
    #[arg(long, value_name = "N", default_value_t = 2, env = "RIFT_REPEAT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    repeat: usize,
    /// Write the result as JSON.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct BenchReport {
    arch: String,
    modules: usize,
    n: usize,
    steps: usize,
    threads: i32,
    device: String,
    /// Seconds for all modules, a round each: Rift's default.
    seconds: Vec<f64>,
    /// Seconds of the reference's way: epochs of stochastic gradient steps and a judgement after
    /// each, the whole network in every pass.
    reference_seconds: Vec<f64>,
    /// How many times less Rift's way takes, a round each.
    ratios: Vec<f64>,
    /// The median of them.
    ratio: f64,
}

/// Runs `bench-criticality`.
///
/// # Errors
/// If the architecture cannot be built or the device has too little memory.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    Places::new().writes("--json", args.json.as_deref()).check()?;
    let device = args.machine.start(args.numbers.precision)?;
    let input = [3, args.side, args.side];
    let spec = ArchSpec { width: args.width, ..ArchSpec::new(&args.arch, input, 10) };
    let network = Network::initialise(spec.build()?, 0, device)?;
    let network = network.with_precision(args.numbers.precision);
    // Any images do: a kernel's speed does not depend on what they show.
    let count = args.limit * input.iter().product::<usize>();
    let bytes: Vec<u8> = (0..count).map(|i| (i.wrapping_mul(7919) >> 3) as u8).collect();
    let labels = (0..args.limit).map(|i| i % 10).collect();
    let images = ImageSet::from_bytes(&bytes, input, labels, device)?;
    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..args.repeat {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            seconds[which].push(one(args, &network, &images, which)?);
        }
    }
    let [ours, reference] = seconds;
    let ratios: Vec<f64> = reference.iter().zip(&ours).map(|(a, b)| a / b).collect();
    let mut sorted = ratios.clone();
    sorted.sort_by(f64::total_cmp);
    let report = BenchReport {
        arch: args.arch.clone(),
        modules: network.graph().modules().count(),
        n: args.limit,
        steps: args.ascent_steps,
        threads: tch::get_num_threads(),
        device: format!("{device:?}"),
        ratio: *sorted.get(sorted.len() / 2).context("nothing was measured")?,
        seconds: ours,
        reference_seconds: reference,
        ratios,
    };
    also_json(print(&report), args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

/// The seconds of all modules, Rift's way or the reference's. The attack, which is the same for
/// both, is left out.
fn one(
    args: &BenchArgs,
    network: &Network,
    images: &ImageSet,
    which: usize,
) -> anyhow::Result<f64> {
    let settings = MrcSettings {
        threat: AttackSpec { steps: 0, ..AttackSpec::paper() },
        radius: 0.1,
        steps: args.ascent_steps,
        ascent: if which == 0 { Ascent::Normalized } else { Ascent::Reference },
        joint: false,
        halves: false,
        batch: args.batch_size,
        cache_bytes: if which == 0 { 2 << 30 } else { 0 },
    };
    let modules: Vec<&str> = network.graph().modules().collect();
    let start = Instant::now();
    measure(network, images, &modules, &settings, &Progress::hidden())?;
    device::synchronise(network.device());
    Ok(start.elapsed().as_secs_f64())
}

fn print(report: &BenchReport) -> std::io::Result<()> {
    let BenchReport { arch, modules, n, steps, threads, device, .. } = report;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "criticality of {modules} modules of {arch}, {n} images, {steps} steps, {threads} threads, {device}"
    )?;
    for (round, ratio) in report.ratios.iter().enumerate() {
        let [ours, reference] = [report.seconds[round], report.reference_seconds[round]];
        writeln!(
            out,
            "{ours:8.1} s, the reference's way {reference:8.1} s: {ratio:.2} times less"
        )?;
    }
    Ok(())
}
