//! The command line: what can be asked, and how answers and errors leave.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, CommandFactory, Parser, Subcommand};
use rift_models::artifact::Reading;
use rift_models::{program, zoo};
use rift_runtime::server::screen;
use rift_runtime::session::{Engine, Precision, PrecisionError, Provider, SessionOptions};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::commands::serve::LogFormat;
use crate::commands::{Answer, audit, bench, classify, gradient, healthcheck, info, serve};

/// Serves ONNX classifiers and attacks the very file that it serves.
///
/// MODEL is a bundle, a bare `.onnx` file, or `zoo:NAME` for one that ships with Rift. Exit status:
/// 0 fine, 1 the answer is no, 2 an error.
#[derive(Debug, Parser)]
#[command(name = "rift-runtime", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// ONNX Runtime's shared library; looked for where `make setup` puts it if not given
    #[arg(long, value_name = "PATH", env = "RIFT_ONNXRUNTIME", global = true)]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Before a model is opened here, look at the file and try it in a process that can reach nothing
    #[arg(long, env = "RIFT_SCREEN", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) screen: bool,
    /// Show no progress
    #[arg(long, env = "RIFT_QUIET", global = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a model is and where it comes from
    Info(info::InfoArgs),
    /// Classify pictures
    Classify(classify::ClassifyArgs),
    /// Attack a model and say how robust it is
    Audit(Box<audit::AuditArgs>),
    /// Make one report of those of an audit's parts
    AuditMerge(audit::merge::MergeArgs),
    /// Write a model with its reverse pass as an ordinary ONNX file
    Gradient(gradient::GradientArgs),
    /// Measure how fast a model runs on this machine
    Bench(bench::BenchArgs),
    /// Answer requests: the Open Inference Protocol over HTTP
    Serve(Box<serve::ServeArgs>),
    /// Ask a server on this machine whether it is ready: exit status 0 if it is, else 1
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Write the manual pages and the completions for bash, fish and zsh
    Manual(program::ManualArgs),
    /// The process in which `--screen` tries a model
    #[command(name = screen::COMMAND, hide = true)]
    ScreenChild,
}

/// A model's path, or where the zoo has the model of a name.
pub(crate) fn model_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(zoo::locate)
}

/// Where sessions compute.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct EngineArgs {
    /// ONNX Runtime's execution provider: cpu, openvino (`make setup-openvino`), cuda or xnnpack
    #[arg(long, value_name = "NAME", env = "RIFT_PROVIDER", default_value = "cpu")]
    provider: Provider,
    /// The numbers of gradients: float32, or bf16 with openvino; images are always judged in float32
    #[arg(long, value_name = "NAME", env = "RIFT_PRECISION", default_value = "float32")]
    precision: Precision,
}

impl EngineArgs {
    /// As the library takes it.
    pub(crate) fn engine(self) -> Result<Engine, PrecisionError> {
        Engine::new(self.provider, self.precision)
    }
}

/// What a user adds to a model's file, where the file does not say it.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReadingArgs {
    /// The output that holds the logits [default: the only one, else `logits`]
    #[arg(long, value_name = "NAME", env = "RIFT_OUTPUT")]
    output: Option<String>,
    /// The model takes (S x pixel - mean) / std of pixels in [0, 1] [default: 1]
    #[arg(long, value_name = "S", env = "RIFT_SCALE")]
    scale: Option<f32>,
    /// What is subtracted after --scale, for all channels or each: `0.485,0.456,0.406` [default: 0]
    #[arg(
        long,
        value_name = "MEAN",
        env = "RIFT_MEAN",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    mean: Vec<f32>,
    /// What the rest is divided by, for all channels or each: `0.229,0.224,0.225` [default: 1]
    #[arg(long, value_name = "STD", env = "RIFT_STD", value_delimiter = ',')]
    std: Vec<f32>,
    /// Height and width of images, for models that leave them free [default: the data's, else 224x224]
    #[arg(long, value_name = "HxW", env = "RIFT_SIZE", value_parser = size)]
    size: Option<[usize; 2]>,
}

impl ReadingArgs {
    /// As the library takes it.
    pub(crate) fn reading(&self, resize: bool) -> Reading {
        Reading {
            output: self.output.clone(),
            scale: self.scale,
            mean: self.mean.clone(),
            std: self.std.clone(),
            size: self.size,
            resize,
        }
    }
}

/// `224` or `240x320`: height, then width.
fn size(text: &str) -> Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |text: &str| text.trim().parse().ok().filter(|side| (1..=16_384).contains(side));
    match (side(height), side(width)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err("expected height and width such as `240x320`, or `224` for both".to_owned()),
    }
}

/// How work is spread over the machine; no result depends on it.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Spread {
    /// Threads, each with a session of its own [default: one a core]
    #[arg(long, value_name = "N", env = "RIFT_THREADS", value_parser = up_to_1024)]
    threads: Option<usize>,
    /// Images that go through a session at once [default: 16; audit: what is fastest in a short trial]
    #[arg(long, value_name = "N", env = "RIFT_BATCH_SIZE", value_parser = up_to_1024)]
    pub(crate) batch_size: Option<usize>,
}

impl Spread {
    /// The options for sessions.
    pub(crate) fn options(self) -> SessionOptions {
        let default = SessionOptions::default();
        SessionOptions {
            threads: self.threads.unwrap_or(default.threads),
            batch: self.batch_size.unwrap_or(default.batch),
        }
    }
}

/// A number that counts something which must be there.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A number of things that each take memory.
pub(crate) fn up_to_1024(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=1024) => Ok(number),
        _ => Err("expected a whole number from 1 to 1024".to_owned()),
    }
}

/// Parses, runs, prints; the whole program after the first line of `main`.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return program::refuse(&error),
    };
    log(&cli.command);
    let mut out = io::stdout().lock();
    let result = run(&cli, &mut out).and_then(|answer| {
        out.flush()?;
        Ok(answer)
    });
    match result {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        // The reader of our output has seen enough (`| head`): not a failure of ours.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = program::fail(&format!("{error:#}"));
            let stopped = error.downcast_ref::<audit::interrupt::Stopped>();
            stopped.map_or(code, |stopped| ExitCode::from(stopped.code()))
        }
    }
}

/// What `RIFT_LOG` asks for, on standard error; a server tells more without being asked.
fn log(command: &Command) {
    let (otherwise, format) = match command {
        Command::Serve(args) => (LevelFilter::INFO, args.log_format),
        _ => (LevelFilter::WARN, LogFormat::Text),
    };
    let wanted = std::env::var("RIFT_LOG").ok().and_then(|wanted| wanted.parse::<Targets>().ok());
    let wanted = wanted.unwrap_or_else(|| Targets::new().with_default(otherwise));
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        // It would panic where standard error cannot be written, for instance on a full disk.
        .log_internal_errors(false);
    let log = match format {
        LogFormat::Text => log.boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(log.with_filter(wanted)).init();
}

fn run(cli: &Cli, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let global = &cli.global;
    match &cli.command {
        Command::Info(args) => info::run(args, global, out),
        Command::Classify(args) => classify::run(args, global, out),
        Command::Audit(args) => audit::run(args, global, out),
        Command::AuditMerge(args) => audit::merge::run(args, out),
        Command::Gradient(args) => gradient::run(args, global, out),
        Command::Bench(args) => bench::run(args, global, out),
        Command::Serve(args) => serve::run(args, global, out),
        Command::Healthcheck(args) => healthcheck::run(args, out),
        Command::Manual(args) => {
            program::manual(Cli::command(), args)?;
            Ok(Answer::Yes)
        }
        Command::ScreenChild => {
            screen::serve(io::stdin().lock(), out)?;
            Ok(Answer::Yes)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use rift_models::program::misnamed_variables;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_has_a_variable() {
        Cli::command().debug_assert();
        assert_eq!(misnamed_variables(&Cli::command()), [""; 0]);
    }
}
