//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::program;

use crate::commands;
use crate::network::{DeviceChoice, Precision, device};

/// Adversarial training and Robust Critical Fine-Tuning.
#[derive(Debug, Parser)]
#[command(name = "rift-trainer", version, about, long_about = None)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does: one variant and one file in `commands/` each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network, adversarially by default.
    ///
    /// On SIGINT or SIGTERM it finishes the step under way, writes the state, and exits with 130 or
    /// 143; a second signal ends it at once. `--resume` goes on.
    Train(Box<commands::train::TrainArgs>),
    /// List the settings that a training may start from, or print one.
    Presets(commands::presets::PresetsArgs),
    /// Measure how much robustness hangs on each module.
    ///
    /// Measures on the first 2,000 images of the split, unless `--limit` says otherwise.
    Mrc(commands::mrc::MrcArgs),
    /// Fine-tune a module on clean images.
    ///
    /// The epoch of the best accuracy on the validation images is kept.
    Finetune(commands::finetune::FinetuneArgs),
    /// Choose between the robust and the fine-tuned weights.
    ///
    /// Chooses by the validation images and never sees the test images.
    Interpolate(commands::interpolate::InterpolateArgs),
    /// Do mrc, finetune and interpolate, and report on the test images.
    ///
    /// The module is chosen on training images, epoch and alpha on validation images; the test
    /// images are looked at once, at the end.
    Rift(Box<commands::rift::RiftArgs>),
    /// Compare what to fine-tune: everything, the last layer, the most and the least critical modules.
    ///
    /// Each row chooses epoch and alpha on validation images; all are reported on the test images.
    Ablate(Box<commands::ablate::AblateArgs>),
    /// Make a checkpoint of published PyTorch weights.
    ///
    /// Nothing in the file is executed. The weights do not tell the size of the images, the names of
    /// the classes, and as a rule not the normalisation: those published with the RiFT paper for
    /// CIFAR want `--mean 0.4914,0.4822,0.4465 --std 0.2471,0.2435,0.2616`.
    Import(commands::import::ImportArgs),
    /// Measure clean and robust accuracy of a checkpoint.
    Eval(commands::eval::EvalArgs),
    /// Check that a device computes what it should.
    ///
    /// Everything that a training is made of, against float64 on the processor.
    Check(commands::check::CheckArgs),
    /// Measure how fast this machine trains.
    Bench(commands::bench::BenchArgs),
    /// Measure what criticality costs, beside the reference implementation's way.
    BenchCriticality(commands::bench_criticality::BenchArgs),
    /// Write the manual pages and the completions for bash, fish and zsh.
    Manual(program::ManualArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// In one line of causes for the user.
    pub fn run(self) -> anyhow::Result<std::process::ExitCode> {
        match self {
            Self::Train(args) => commands::train::run(&args),
            Self::Presets(args) => commands::presets::run(&args),
            Self::Mrc(args) => commands::mrc::run(&args),
            Self::Finetune(args) => commands::finetune::run(&args),
            Self::Interpolate(args) => commands::interpolate::run(&args),
            Self::Rift(args) => commands::rift::run(&args),
            Self::Import(args) => commands::import::run(&args),
            Self::Eval(args) => commands::eval::run(&args),
            Self::Ablate(args) => commands::ablate::run(&args),
            Self::BenchCriticality(args) => commands::bench_criticality::run(&args),
            Self::Check(args) => commands::check::run(&args),
            Self::Bench(args) => commands::bench::run(&args),
            Self::Manual(args) => {
                program::manual(Cli::command(), &args)?;
                Ok(std::process::ExitCode::SUCCESS)
            }
        }
    }
}

/// Which images.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// The data set: a folder or file, recognised by content, or `synthetic:…`.
    #[arg(long, value_name = "PATH", env = "RIFT_DATA")]
    pub data: PathBuf,
    /// Only the first N images of the split.
    #[arg(long, value_name = "N", env = "RIFT_LIMIT", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: Option<usize>,
}

impl DataArgs {
    /// Reads the images of `split`.
    ///
    /// # Errors
    /// If the data set cannot be read.
    pub fn open(&self, split: Split) -> anyhow::Result<Dataset> {
        Ok(Dataset::open(&self.data, &Request::new(split).limit(self.limit))?)
    }
}

/// In which numbers to compute.
#[derive(Clone, Copy, Debug, Args)]
pub struct PrecisionArgs {
    /// In which numbers the network computes: `float32`, `bf16`, or on a GPU `tf32`. Whether
    /// an image is classified correctly is decided in `float32`, but for the figures of `mrc` and of
    /// training batches on their way, which are in these numbers.
    #[arg(long, default_value_t, env = "RIFT_PRECISION")]
    pub precision: Precision,
}

/// More threads than this only wait for one another.
const MOST_THREADS: u64 = 1024;

/// Where and how quietly to run.
#[derive(Clone, Debug, Args)]
pub struct MachineArgs {
    /// Where to compute: `auto`, `cpu`, `cuda` or `cuda:INDEX`.
    #[arg(long, value_name = "DEVICE", default_value_t, env = "RIFT_DEVICE")]
    pub device: DeviceChoice,
    /// Threads to compute with, as many as there are cores by default. On one thread the same seed
    /// gives the same result bit for bit.
    #[arg(long, value_name = "N", env = "RIFT_THREADS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=MOST_THREADS))]
    pub threads: Option<usize>,
    /// Show no progress: warnings and the result only.
    #[arg(long, env = "RIFT_QUIET", value_parser = clap::builder::FalseyValueParser::new())]
    pub quiet: bool,
}

impl MachineArgs {
    /// Sets the threads, and what libtorch knows of once for all networks, and finds the device.
    ///
    /// # Errors
    /// If a GPU is asked for that is not there, or a precision that the device does not have.
    pub fn start(&self, precision: Precision) -> anyhow::Result<tch::Device> {
        device::keep_memory();
        device::set_threads(self.threads);
        if precision != Precision::Tf32 {
            device::forbid_tf32();
        }
        let device = self.device.resolve()?;
        precision.check(device)?;
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use rift_models::program::misnamed_variables;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_has_a_variable() {
        Cli::command().debug_assert();
        assert_eq!(misnamed_variables(&Cli::command()), [""; 0]);
    }
}
