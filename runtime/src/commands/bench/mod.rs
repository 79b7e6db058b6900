//! `rift-runtime bench`: a model in this process, or a server that answers.

mod latency;
mod load;
mod matrix;
mod memory;
mod server;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rift_models::artifact::atomic;
use rift_models::threat::{NoiseKey, Norm, noise};
use rift_runtime::session::{Precision, Provider};
use serde::Serialize;

use super::{Answer, output};
use crate::cli::{Global, ReadingArgs, at_least_one, model_path, up_to_1024};

/// The arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// A bundle, an `.onnx` file, or `zoo:NAME`
    #[arg(value_name = "MODEL", required_unless_present = "url", value_parser = model_path())]
    model: Option<PathBuf>,
    /// Timed repetitions, of which the median counts
    #[arg(long, value_name = "N", env = "RIFT_REPETITIONS", default_value = "5",
          value_parser = at_least_one, conflicts_with = "url")]
    repetitions: usize,
    /// Threads, each with a session of its own; several numbers are measured one by one [default: one
    /// a core]
    #[arg(long, value_name = "N,…", env = "RIFT_THREADS", value_delimiter = ',', value_parser = up_to_1024,
          conflicts_with = "url")]
    threads: Vec<usize>,
    /// Images in a run or a request; several numbers are measured one by one [default: 1,16; --url: 1]
    #[arg(long, value_name = "N,…", env = "RIFT_BATCH_SIZE", value_delimiter = ',', value_parser = up_to_1024)]
    batch_size: Vec<usize>,
    /// ONNX Runtime's execution providers: cpu, openvino (`make setup-openvino`), cuda or xnnpack
    #[arg(
        long,
        value_name = "NAME,…",
        env = "RIFT_PROVIDER",
        value_delimiter = ',',
        default_value = "cpu",
        conflicts_with = "url"
    )]
    provider: Vec<Provider>,
    /// The numbers of gradients: float32, or bf16 with openvino
    #[arg(
        long,
        value_name = "NAME",
        env = "RIFT_PRECISION",
        default_value = "float32",
        conflicts_with = "url"
    )]
    precision: Precision,
    /// Write the result as JSON
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    load: LoadArgs,
}

/// What is asked of a server.
#[derive(Debug, Args)]
struct LoadArgs {
    /// Measure a server of the Open Inference Protocol instead: `http://127.0.0.1:8080`
    #[arg(long, value_name = "URL", env = "RIFT_URL", conflicts_with = "model")]
    url: Option<String>,
    /// --url: the model that is asked [default: the only one]
    #[arg(long = "model", value_name = "NAME", env = "RIFT_MODEL", conflicts_with = "model")]
    name: Option<String>,
    /// --url: a file whose first line is the bearer token
    #[arg(long, value_name = "PATH", env = "RIFT_TOKEN_FILE", conflicts_with = "model")]
    token_file: Option<PathBuf>,
    /// --url: clients, each of which asks again as soon as it has its answer; several numbers are
    /// measured one by one [default: 1,32]
    #[arg(long, value_name = "N,…", env = "RIFT_CLIENTS", value_delimiter = ',', value_parser = up_to_1024,
          conflicts_with = "model")]
    clients: Vec<usize>,
    /// --url: seconds of each measurement [default: 10]
    #[arg(long, value_name = "SECONDS", env = "RIFT_DURATION", value_parser = super::seconds, conflicts_with = "model")]
    duration: Option<Duration>,
    /// --url: how tensors travel [default: binary where the server says that it can]
    #[arg(long, value_name = "FORMAT", env = "RIFT_TENSORS", conflicts_with = "model")]
    tensors: Option<server::Tensors>,
}

/// Measures how fast a model, or a server, answers about random images.
pub(crate) fn run(
    args: &BenchArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    if let Some(path) = &args.json {
        let model = args.model.as_deref().map(|model| ("the model", model));
        output::check(&[("--json", path)], model.as_slice())?;
    }
    match (&args.load.url, &args.model) {
        (Some(url), _) => load::run(args, url, out)?,
        (None, Some(model)) => matrix::run(args, model, global, out)?,
        // The command line asks for one of them.
        (None, None) => {}
    }
    Ok(Answer::Yes)
}

/// The numbers that were asked for, or those that are measured otherwise.
fn or<T: Clone>(asked: &[T], otherwise: &[T]) -> Vec<T> {
    if asked.is_empty() { otherwise.to_vec() } else { asked.to_vec() }
}

fn write_json(path: Option<&Path>, report: &impl Serialize) -> anyhow::Result<()> {
    if let Some(path) = path {
        atomic::write_json(path, report)?;
    }
    Ok(())
}

/// Pixels of random images one after the other, the same every time.
fn pixels(image: usize, n: usize) -> Vec<f32> {
    let key = NoiseKey { seed: 0, attack: "bench", restart: 0 };
    let mut pixels = vec![0.0; image * n];
    for (index, image) in pixels.chunks_exact_mut(image).enumerate() {
        noise::random_start(&key, index, Norm::Linf, 0.5, image);
        for value in image {
            *value += 0.5;
        }
    }
    pixels
}
