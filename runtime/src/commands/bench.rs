//! `rift-runtime bench`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use ndarray::Array4;
use rift_models::artifact::{Digest, atomic};
use rift_models::threat::{NoiseKey, Norm, noise};
use rift_runtime::attack::gradient;
use rift_runtime::audit::report::{PROGRAM, instruction_set};
use rift_runtime::session::{Opening, Pool, SessionError, SessionOptions, Worker, spread};
use serde::Serialize;

use super::{Answer, open_with, output};
use crate::cli::{EngineArgs, Global, ReadingArgs, Spread, at_least_one, model_path};

/// Seconds that one repetition should take at least, so that a timer's noise does not matter.
const SECONDS: f64 = 0.5;

/// The arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// A bundle, an `.onnx` file, or `zoo:NAME`
    #[arg(value_name = "MODEL", value_parser = model_path())]
    model: PathBuf,
    /// Timed repetitions, of which the median counts
    #[arg(long, value_name = "N", env = "RIFT_REPETITIONS", default_value = "5",
          value_parser = at_least_one)]
    repetitions: usize,
    /// Write the result as JSON
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    spread: Spread,
}

#[derive(Serialize)]
struct Report<'a> {
    program: &'static str,
    onnxruntime: String,
    provider: &'static str,
    precision: String,
    instruction_set: Vec<String>,
    model: &'a Digest,
    threads: usize,
    batch_size: usize,
    forward: Rate,
    forward_and_gradient: Rate,
}

/// Images per second.
#[derive(Clone, Copy, Debug, Serialize)]
struct Rate {
    median: f64,
    slowest: f64,
    fastest: f64,
    repetitions: usize,
    images_per_repetition: usize,
}

/// Measures how fast a model runs on random images.
pub(crate) fn run(
    args: &BenchArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    if let Some(path) = &args.json {
        output::check_writable(path)?;
    }
    let (reading, engine) = (args.reading.reading(false), args.engine.engine()?);
    let opening = Opening { reading, engine, ..Opening::default() };
    let classifier = open_with(&args.model, &opening, global)?;
    let options = args.spread.options();
    let graph = gradient::loss_gradient(&classifier)
        .with_context(|| format!("cannot differentiate `{}`", args.model.display()))?;
    let mut pool = Pool::new(&classifier, &options, usize::MAX)?
        .with_gradient(&classifier, &graph.to_bytes())?;
    let batch = classifier.batch(options.batch);
    let images = random_images(classifier.input(), batch);
    let labels = vec![0; batch];
    let forward =
        rate(args, batch, pool.workers(), &|worker| worker.logits(&images.view()).map(drop))?;
    let backward = rate(args, batch, pool.workers(), &|worker| {
        worker.loss_gradient(&images.view(), &labels).map(drop)
    })?;
    let SessionOptions { threads, .. } = options;
    let report = Report {
        program: PROGRAM,
        onnxruntime: classifier.library().version(),
        provider: classifier.engine().provider().name(),
        precision: classifier.engine().steering().to_string(),
        instruction_set: instruction_set(),
        model: classifier.digest(),
        threads,
        batch_size: batch,
        forward,
        forward_and_gradient: backward,
    };
    if let Some(path) = &args.json {
        atomic::write_json(path, &report)?;
    }
    writeln!(out, "{} on ONNX Runtime {}", args.model.display(), report.onnxruntime)?;
    let many = if threads == 1 { "thread" } else { "threads" };
    writeln!(
        out,
        "{threads} {many}, batches of {batch}, {}, images per second:",
        report.precision
    )?;
    print("forward", forward, out)?;
    print("forward + input gradient", backward, out)?;
    Ok(Answer::Yes)
}

fn print(name: &str, rate: Rate, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "  {name:<25} {:9.1}  ({:.1} to {:.1} in {} repetitions)",
        rate.median, rate.slowest, rate.fastest, rate.repetitions
    )
}

fn random_images([c, h, w]: [usize; 3], n: usize) -> Array4<f32> {
    let mut images = Array4::zeros((n, c, h, w));
    let key = NoiseKey { seed: 0, attack: "bench", restart: 0 };
    let mut values = vec![0.0; c * h * w];
    for (index, mut image) in images.outer_iter_mut().enumerate() {
        noise::random_start(&key, index, Norm::Linf, 0.5, &mut values);
        for (to, value) in image.iter_mut().zip(&values) {
            *to = value + 0.5;
        }
    }
    images
}

/// The rate of `work`, which takes one batch, over all workers at once; warm.
fn rate(
    args: &BenchArgs,
    batch: usize,
    workers: &mut [Worker],
    work: &(dyn Fn(&mut Worker) -> Result<(), SessionError> + Sync),
) -> Result<Rate, SessionError> {
    let mut time = |batches: usize| {
        let started = Instant::now();
        spread(workers, batches, 1, |worker, _| work(worker))?;
        Ok::<f64, SessionError>(started.elapsed().as_secs_f64().max(1e-9))
    };
    // The first runs allocate; the second pass of each worker is what a long run looks like.
    let count = args.spread.options().threads;
    time(count)?;
    let once = time(count)?;
    let batches = count * (SECONDS / once).ceil().clamp(1.0, 1e4) as usize;
    let mut rates = (0..args.repetitions)
        .map(|_| Ok((batches * batch) as f64 / time(batches)?))
        .collect::<Result<Vec<f64>, SessionError>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(Rate {
        median: rates[rates.len() / 2],
        slowest: rates[0],
        fastest: rates[rates.len() - 1],
        repetitions: rates.len(),
        images_per_repetition: batches * batch,
    })
}
