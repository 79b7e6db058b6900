//! A model in this process: every provider with every number of threads and images.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use ndarray::{Array4, ArrayView4};
use rift_models::artifact::Digest;
use rift_runtime::attack::gradient;
use rift_runtime::audit::report::{PROGRAM, instruction_set};
use rift_runtime::session::{
    Classifier, Engine, Opening, Pool, Provider, SessionError, SessionOptions, Worker, library,
    spread,
};
use serde::Serialize;

use super::latency::{Latency, Times};
use super::memory::Memory;
use super::{BenchArgs, or, pixels, write_json};
use crate::cli::Global;
use crate::commands::open_with;

/// Seconds that one repetition should take at least, so that a timer's noise does not matter.
const SECONDS: f64 = 0.5;

#[derive(Serialize)]
struct Report {
    program: &'static str,
    onnxruntime: String,
    instruction_set: Vec<String>,
    model: Digest,
    cold_start: ColdStart,
    memory: Option<Memory>,
    runs: Vec<Run>,
}

/// From the beginning of the command to the first answer about one image, on the first provider.
///
/// # Units
/// Milliseconds.
#[derive(Serialize)]
struct ColdStart {
    /// ONNX Runtime's library.
    library: f64,
    /// The model's file.
    open: f64,
    /// The session and its first run.
    first_run: f64,
    total: f64,
}

#[derive(Serialize)]
struct Run {
    provider: &'static str,
    precision: String,
    threads: usize,
    batch_size: usize,
    /// Of a run of one batch.
    latency: Latency,
    forward: Rate,
    /// `None` for a model that has no gradient.
    forward_and_gradient: Option<Rate>,
    memory: Option<Memory>,
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

/// Measures the model and says what was found.
pub(super) fn run(
    args: &BenchArgs,
    path: &Path,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (cold_start, first) = start(args, path, global)?;
    let memory = Memory::now();
    let heading = format!("{} on ONNX Runtime {}", path.display(), first.library().version());
    writeln!(out, "{heading}")?;
    let ColdStart { library, open, first_run, total } = &cold_start;
    write!(
        out,
        "first answer after {total:.1} ms: library {library:.1}, model {open:.1}, first run {first_run:.1}"
    )?;
    if let Some(memory) = memory {
        write!(out, "; {:.1} MiB resident", mib(memory.resident))?;
    }
    writeln!(out, "\n\n{HEAD}")?;
    let mut report = Report {
        program: PROGRAM,
        onnxruntime: first.library().version(),
        instruction_set: instruction_set(),
        model: first.digest().clone(),
        cold_start,
        memory,
        runs: Vec::new(),
    };
    for engine in engines(args)? {
        let classifier = open_with(path, &opening(args, engine), global)?;
        let gradient = gradient::loss_gradient(&classifier).map(|graph| graph.to_bytes());
        for threads in or(&args.threads, &[SessionOptions::default().threads]) {
            for batch in or(&args.batch_size, &[1, 16]) {
                let options = SessionOptions { threads, batch };
                let graph = gradient.as_deref().ok();
                let run = measure(args.repetitions, (&classifier, graph), options)?;
                writeln!(out, "{}", row(&run))?;
                out.flush()?;
                report.runs.push(run);
            }
        }
        if let Err(error) = &gradient {
            writeln!(out, "no gradient: {error}")?;
        }
    }
    write_json(args.json.as_deref(), &report)
}

/// The engines that are asked for.
fn engines(args: &BenchArgs) -> anyhow::Result<Vec<Engine>> {
    let engine = |provider: &Provider| Ok(Engine::new(*provider, args.precision)?);
    args.provider.iter().map(engine).collect()
}

fn opening(args: &BenchArgs, engine: Engine) -> Opening {
    Opening { reading: args.reading.reading(false), engine, ..Opening::default() }
}

/// What a user waits for who starts a program to ask one question.
fn start(
    args: &BenchArgs,
    path: &Path,
    global: &Global,
) -> anyhow::Result<(ColdStart, Classifier)> {
    let milliseconds = |from: Instant| from.elapsed().as_secs_f64() * 1e3;
    let engines = engines(args)?;
    let engine = engines.first().copied().unwrap_or_default();
    let begun = Instant::now();
    if path.exists() {
        // There is one library a process: that of a provider with one of its own has the others too.
        let own = engines.iter().find(|engine| engine.provider() != Provider::Cpu);
        let provider = own.unwrap_or(&engine).provider();
        library::load_for(global.onnxruntime.as_deref(), provider)?;
    }
    let library = milliseconds(begun);
    let opened = Instant::now();
    let classifier = open_with(path, &opening(args, engine), global)?;
    let open = milliseconds(opened);
    let made = Instant::now();
    let images = images(&classifier, classifier.batch(1))?;
    Worker::new(&classifier, 1)?.logits(&images.view())?;
    let first_run = milliseconds(made);
    let total = milliseconds(begun);
    Ok((ColdStart { library, open, first_run, total }, classifier))
}

fn images(classifier: &Classifier, n: usize) -> anyhow::Result<Array4<f32>> {
    let [c, h, w] = classifier.input();
    Array4::from_shape_vec((n, c, h, w), pixels(c * h * w, n)).context("cannot make images")
}

fn measure(
    repetitions: usize,
    (classifier, gradient): (&Classifier, Option<&[u8]>),
    options: SessionOptions,
) -> anyhow::Result<Run> {
    let mut pool = Pool::new(classifier, &options, usize::MAX)?;
    let batch = classifier.batch(options.batch);
    let images = images(classifier, batch)?;
    let images = images.view();
    let mut times = Times::new()?;
    let forward = |worker: &mut Worker| worker.logits(&images).map(drop);
    let forward = rate(repetitions, batch, pool.workers(), &forward, &mut times)?;
    let forward_and_gradient = match gradient {
        Some(graph) => {
            let mut pool = pool.with_gradient(classifier, graph)?;
            Some(backward(repetitions, &images, pool.workers())?)
        }
        None => None,
    };
    Ok(Run {
        provider: classifier.engine().provider().name(),
        precision: classifier.engine().steering().to_string(),
        threads: options.threads,
        batch_size: batch,
        latency: times.latency(),
        forward,
        forward_and_gradient,
        memory: Memory::now(),
    })
}

fn backward(
    repetitions: usize,
    images: &ArrayView4<f32>,
    workers: &mut [Worker],
) -> anyhow::Result<Rate> {
    let batch = images.dim().0;
    let labels = vec![0; batch];
    let work = |worker: &mut Worker| worker.loss_gradient(images, &labels).map(drop);
    Ok(rate(repetitions, batch, workers, &work, &mut Times::new()?)?)
}

/// The rate of `work`, which takes one batch, over all workers at once, warm; and the times of each.
fn rate(
    repetitions: usize,
    batch: usize,
    workers: &mut [Worker],
    work: &(dyn Fn(&mut Worker) -> Result<(), SessionError> + Sync),
    times: &mut Times,
) -> Result<Rate, SessionError> {
    let count = workers.len();
    let mut time = |batches: usize| {
        let started = Instant::now();
        let each = spread(workers, batches, 1, |worker, _| {
            let started = Instant::now();
            work(worker).map(|()| started.elapsed())
        })?;
        Ok::<(f64, Vec<Duration>), SessionError>((started.elapsed().as_secs_f64().max(1e-9), each))
    };
    // The first runs allocate; the second pass of each worker is what a long run looks like.
    time(count)?;
    let (once, _) = time(count)?;
    let batches = count * (SECONDS / once).ceil().clamp(1.0, 1e4) as usize;
    let mut rates = Vec::with_capacity(repetitions);
    for _ in 0..repetitions {
        let (seconds, each) = time(batches)?;
        rates.push((batches * batch) as f64 / seconds);
        for time in each {
            times.record(time);
        }
    }
    rates.sort_by(f64::total_cmp);
    Ok(Rate {
        median: rates[rates.len() / 2],
        slowest: rates[0],
        fastest: rates[rates.len() - 1],
        repetitions: rates.len(),
        images_per_repetition: batches * batch,
    })
}

const HEAD: &str = concat!(
    "                                 milliseconds a run            images per second, median (range)\n",
    "provider  precision threads batch    p50      p95      p99      forward                    ",
    "with input gradient            MiB"
);

fn row(run: &Run) -> String {
    let Run { threads, batch_size, latency, precision, .. } = run;
    let provider = run.provider.trim_end_matches("ExecutionProvider");
    let gradient =
        run.forward_and_gradient.map_or_else(|| format!("{:>26}", "none"), images_a_second);
    let memory = run.memory.map_or_else(|| "?".to_owned(), |m| format!("{:.0}", mib(m.resident)));
    format!(
        "{provider:<9} {precision:<9} {threads:>7} {batch_size:>5} {:>8.3} {:>8.3} {:>8.3}  {} {gradient} {memory:>6}",
        latency.p50,
        latency.p95,
        latency.p99,
        images_a_second(run.forward),
    )
}

fn images_a_second(rate: Rate) -> String {
    let range = format!("({:.0} to {:.0})", rate.slowest, rate.fastest);
    format!("{:>9.1} {range:<16}", rate.median)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
