//! `rift-trainer bench`: how fast this machine trains.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use rift_models::arch::ArchSpec;
use rift_models::threat::{AttackSpec, NoiseKey};
use serde::Serialize;
use tch::{Device, Kind, Tensor};

use super::output::also_json;
use super::places::Places;
use crate::attack::craft;
use crate::cli::{MachineArgs, PrecisionArgs};
use crate::data::Batch;
use crate::network::{Mode, Network, Precision, TorchError, device, input_gradient};
use crate::objective::{Method, Objective, Pair};
use crate::optim::{Sgd, SgdSettings};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The architecture.
    #[arg(long, default_value = "resnet18", env = "RIFT_ARCH")]
    arch: String,
    /// Channels of the first stage, where the architecture lets them be chosen.
    #[arg(long, value_name = "N", env = "RIFT_WIDTH")]
    width: Option<usize>,
    /// Channels, height and width of the images.
    #[arg(
        long,
        value_name = "C,H,W",
        value_delimiter = ',',
        default_value = "3,32,32",
        env = "RIFT_INPUT"
    )]
    input: Vec<usize>,
    /// Images in a batch.
    #[arg(long, value_name = "N", default_value_t = 128, env = "RIFT_BATCH_SIZE", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..))]
    batch_size: usize,
    /// Repetitions of each measurement, after one that does not count.
    #[arg(long, value_name = "N", default_value_t = 5, env = "RIFT_REPEAT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    repeat: usize,
    /// Write the result as JSON.
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    /// What to measure.
    #[arg(
        long,
        value_name = "WHAT,…",
        value_delimiter = ',',
        value_enum,
        default_value = "gradient,at-step",
        env = "RIFT_MEASURES"
    )]
    measures: Vec<Measure>,
    #[command(flatten)]
    numbers: PrecisionArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// Logits and input gradient.
    Gradient,
    /// A step of adversarial training with PGD-10.
    AtStep,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct BenchReport {
    arch: String,
    input: [usize; 3],
    batch_size: usize,
    threads: i32,
    device: String,
    precision: Precision,
    /// Logits and input gradient, batch normalisation in evaluation mode, no parameter's gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_and_input_gradient: Option<Rate>,
    /// A whole step of adversarial training with PGD-10.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_step_pgd10: Option<Rate>,
    /// The largest resident set of the process, in bytes, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory: Option<u64>,
}

/// Images per second.
#[derive(Debug, Serialize)]
struct Rate {
    median: f64,
    lowest: f64,
    highest: f64,
    repeat: usize,
}

/// Runs `bench`.
///
/// # Errors
/// If the architecture cannot be built or the device has too little memory.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    Places::new().writes("--json", args.json.as_deref()).check()?;
    let device = args.machine.start(args.numbers.precision)?;
    let input: [usize; 3] = args.input[..]
        .try_into()
        .map_err(|_| anyhow::anyhow!("expected `--input C,H,W`, found {:?}", args.input))?;
    let spec = ArchSpec { width: args.width, ..ArchSpec::new(&args.arch, input, 10) };
    let network = Network::initialise(spec.build()?, 0, device)?;
    let network = network.with_precision(args.numbers.precision);
    let batch = batch(input, args.batch_size, device)?;
    let wanted = |measure| args.measures.contains(&measure);
    let gradient = wanted(Measure::Gradient).then(|| {
        measure(args, device, || input_gradient(&network, &batch.images, &batch.labels).map(|_| ()))
    });
    let step = wanted(Measure::AtStep).then(|| at_step(args, &network, &batch));
    let report = BenchReport {
        arch: args.arch.clone(),
        input,
        batch_size: args.batch_size,
        threads: tch::get_num_threads(),
        device: format!("{device:?}"),
        precision: network.precision(),
        forward_and_input_gradient: gradient.transpose()?,
        at_step_pgd10: step.transpose()?,
        peak_memory: peak_memory(),
    };
    also_json(print(&report), args.json.as_deref(), &report)?;
    Ok(ExitCode::SUCCESS)
}

fn batch(input: [usize; 3], n: usize, device: Device) -> Result<Batch, TorchError> {
    let [c, h, w] = input.map(|side| side as i64);
    let n = n as i64;
    // Any images do: a kernel's speed does not depend on what they show.
    let waves = Tensor::f_arange(n * c * h * w, (Kind::Float, device))?.f_sin()?;
    let images = waves.f_mul_scalar(0.5)?.f_add_scalar(0.5)?.f_view([n, c, h, w])?;
    let labels = Tensor::f_arange(n, (Kind::Int64, device))?.f_remainder(10)?;
    Ok(Batch { images, labels, indices: (0..n as usize).collect() })
}

fn at_step(args: &BenchArgs, network: &Network, batch: &Batch) -> Result<Rate, TorchError> {
    let settings =
        SgdSettings { momentum: 0.9, nesterov: false, weight_decay: 5e-4, decay_batch_norm: true };
    let (mut sgd, spec) = (Sgd::new(settings), AttackSpec::paper());
    network.unfreeze()?;
    measure(args, network.device(), || {
        let key = NoiseKey { seed: 0, attack: "bench", restart: 0 };
        let adversarial = craft(network, batch, &spec, &key)?;
        let pair = Pair { clean: &batch.images, adversarial: &adversarial, labels: &batch.labels };
        let step = Objective::new(Method::At, 0.0).loss(network, &pair, Mode::Train)?;
        sgd.step(network, &step.loss, 1e-3)
    })
}

fn measure(
    args: &BenchArgs,
    device: Device,
    mut work: impl FnMut() -> Result<(), TorchError>,
) -> Result<Rate, TorchError> {
    let mut rates = Vec::new();
    for repetition in 0..=args.repeat {
        let start = Instant::now();
        work()?;
        device::synchronise(device);
        if repetition > 0 {
            rates.push(args.batch_size as f64 / start.elapsed().as_secs_f64());
        }
    }
    rates.sort_by(f64::total_cmp);
    Ok(Rate {
        median: rates[rates.len() / 2],
        lowest: rates[0],
        highest: rates[rates.len() - 1],
        repeat: rates.len(),
    })
}

/// The largest resident set of this process so far, where the system is Linux.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn print(report: &BenchReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} {:?}, batch {}, {} threads, {}, {}: images per second, median (lowest to highest)",
        report.arch,
        report.input,
        report.batch_size,
        report.threads,
        report.device,
        report.precision
    )?;
    for (what, rate) in [
        ("forward + input gradient", &report.forward_and_input_gradient),
        ("AT step with PGD-10", &report.at_step_pgd10),
    ] {
        let Some(Rate { median, lowest, highest, .. }) = rate else { continue };
        writeln!(out, "{what:<26} {median:9.1} ({lowest:.1} to {highest:.1})")?;
    }
    if let Some(bytes) = report.peak_memory {
        writeln!(out, "{:<26} {:9.2} GiB", "peak memory", bytes as f64 / (1u64 << 30) as f64)?;
    }
    Ok(())
}
