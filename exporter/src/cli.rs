//! The command line.

mod evidence;
mod quantize;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use rift_models::program;
use rift_runtime::session::ahead::Reach;

pub use evidence::{Attest, Keygen, Sign, VerifySignature};
pub use quantize::{
    Activations, CALIBRATION_IMAGES, Calibration, Keep, PERCENTILE, Placement, Quantize, Weights,
};

use crate::verify::parity::TOLERANCE;

/// Freezes Rift checkpoints to ONNX, with evidence.
#[derive(Debug, Parser)]
#[command(name = "rift-exporter", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Settings of every command.
    #[command(flatten)]
    pub shared: Shared,
}

impl Cli {
    /// The settings in `arguments`, the first of which is the program's name, and in variables.
    ///
    /// A variable holds for every command: where it is of no use to this one, that is no error, as it
    /// would be on the command line.
    ///
    /// # Errors
    /// If they make no sense.
    pub fn read<T: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (Command::Verify(verify), Some((_, given))) =
            (&mut cli.command, matches.subcommand())
        {
            let by_variable = |name| given.value_source(name) == Some(ValueSource::EnvVariable);
            verify.twin_by_variable = by_variable("twin");
            if verify.data.is_none() && verify.images.take().is_some() && !by_variable("images") {
                let text = "`--images` needs the images: expected `--data <PATH>` with it";
                return Err(Self::command().error(ErrorKind::MissingRequiredArgument, text));
            }
        }
        Ok(cli)
    }
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Freeze a checkpoint to a bundle: the ONNX model, its card, the probe and a page for people.
    ///
    /// The model is run on the probe first: where its logits differ from the checkpoint's by more
    /// than the tolerance, nothing is written and the exit code is 1.
    Export(Export),
    /// Make a bundle's model smaller and faster: int8, or weights in half precision.
    ///
    /// The new model is measured against the old one on validation images, as they are and under
    /// attack: where it loses more than `--max-drop`, nothing is written and the exit code is 1.
    Quantize(Box<Quantize>),
    /// Write a bundle as other servers take it: Triton's repository, KServe's manifests, one file.
    Deploy(Deploy),
    /// Check a bundle: digests, what the model says of itself, and its logits on the probe.
    ///
    /// The exit code is 1 where something does not hold.
    Verify(Verify),
    /// Make a pair of keys for `sign` and `attest`; those of OpenSSL do as well.
    Keygen(Keygen),
    /// Sign every file of a bundle, in the format of OpenSSF model signing.
    ///
    /// `model_signing verify key` of the Python package accepts the signature too.
    Sign(Sign),
    /// Sign what an audit found, as an in-toto statement about the model that it attacked.
    Attest(Attest),
    /// Check a signature: of a bundle, of an audit's report, or that an audit is of this bundle.
    ///
    /// The exit code is 1 where the key is another one or a file was changed, added or removed.
    VerifySignature(VerifySignature),
    /// Write the manual pages and the completions for bash, fish and zsh.
    Manual(program::ManualArgs),
}

/// Settings of every command.
#[derive(Debug, Args)]
pub struct Shared {
    /// The library of ONNX Runtime; looked for in the usual places if not named.
    #[arg(long, value_name = "FILE", env = "RIFT_ONNXRUNTIME", global = true)]
    pub onnxruntime: Option<PathBuf>,
    /// Threads that run the model; one for each core if not given.
    #[arg(long, value_name = "N", env = "RIFT_THREADS", global = true,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub threads: Option<usize>,
    /// Say nothing but results and errors.
    // Any value of the variable but `0`, `false`, `no`, `off` and an empty one means yes.
    #[arg(long, env = "RIFT_QUIET", global = true,
          value_parser = clap::builder::FalseyValueParser::new())]
    pub quiet: bool,
}

/// Settings of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The checkpoint, as `rift-trainer` writes it.
    #[arg(long, value_name = "FILE", env = "RIFT_CHECKPOINT")]
    pub checkpoint: PathBuf,
    /// The images with the checkpoint's own logits [default: `probe.safetensors` beside the
    /// checkpoint].
    #[arg(long, value_name = "FILE", env = "RIFT_PROBE")]
    pub probe: Option<PathBuf>,
    /// The bundle's folder; an older bundle there is replaced, if it holds nothing else.
    #[arg(long, value_name = "FOLDER", env = "RIFT_OUT")]
    pub out: PathBuf,
    /// The bundle's name [default: the folder's].
    #[arg(long, env = "RIFT_NAME", value_parser = name)]
    pub name: Option<String>,
    /// The largest difference of a logit from the checkpoint's that is accepted.
    #[arg(long, env = "RIFT_TOLERANCE", default_value_t = TOLERANCE, value_parser = tolerance)]
    pub tolerance: f64,
    /// Also put ONNX Runtime's optimised form of the model into the bundle, with the list of
    /// operators that a runtime built for it needs.
    #[arg(long, value_enum, env = "RIFT_OPTIMIZE")]
    pub optimize: Option<Optimize>,
}

/// For whom a model is optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Optimize {
    /// Any machine: operators are fused
    Portable,
    /// Machines with this one's instruction set: layouts of weights and activations too
    ThisMachine,
}

impl From<Optimize> for Reach {
    fn from(optimize: Optimize) -> Self {
        match optimize {
            Optimize::Portable => Self::Portable,
            Optimize::ThisMachine => Self::ThisMachine,
        }
    }
}

/// Settings of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The bundle's folder or archive.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// The largest difference of a logit from the checkpoint's that is accepted [default: 1e-4, for
    /// a quantised model what its card says].
    #[arg(long, env = "RIFT_TOLERANCE", value_parser = tolerance)]
    pub tolerance: Option<f64>,
    /// Also measure clean and robust accuracy on these images, and compare them with the card's.
    #[arg(long, value_name = "PATH", env = "RIFT_DATA")]
    pub data: Option<PathBuf>,
    /// Images to measure on, with `--data` [default: as many as the card's figures are of, else
    /// 500].
    #[arg(long, value_name = "N", env = "RIFT_IMAGES")]
    pub images: Option<usize>,
    /// The float model's bundle, for a quantised one: it is verified too, and its gradients steer the
    /// attack.
    #[arg(long, value_name = "BUNDLE", env = "RIFT_TWIN")]
    pub twin: Option<PathBuf>,
    /// Whether a variable named the twin, which may be meant for other commands.
    #[arg(skip)]
    pub twin_by_variable: bool,
    /// Also write the result as JSON.
    #[arg(long, value_name = "FILE", env = "RIFT_JSON")]
    pub json: Option<PathBuf>,
}

/// Settings of `deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// The bundle's folder or archive.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// Add the model to this model repository of Triton's.
    #[arg(long, value_name = "FOLDER", env = "RIFT_TRITON")]
    pub triton: Option<PathBuf>,
    /// Write `InferenceService` manifests for KServe into this folder.
    #[arg(long, value_name = "FOLDER", env = "RIFT_KSERVE")]
    pub kserve: Option<PathBuf>,
    /// Write the bundle as this one file, `….tar.zst`, which `rift-runtime` reads as it is.
    #[arg(long, value_name = "FILE", env = "RIFT_ARCHIVE")]
    pub archive: Option<PathBuf>,
    /// Triton: the most images of one run.
    #[arg(long, value_name = "N", env = "RIFT_MAX_BATCH", default_value_t = 32,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65536))]
    pub max_batch: usize,
    /// Triton: how long an image may wait for others, in microseconds.
    #[arg(long, value_name = "MICROSECONDS", env = "RIFT_QUEUE_DELAY", default_value_t = 1000)]
    pub queue_delay: u64,
    /// KServe: from where the cluster fetches the bundle, for `rift-runtime`.
    #[arg(
        long,
        value_name = "URI",
        env = "RIFT_STORAGE_URI",
        value_parser = address,
        default_value = "pvc://models/bundle"
    )]
    pub storage_uri: String,
    /// KServe: from where the cluster fetches the model repository, for Triton.
    #[arg(
        long,
        value_name = "URI",
        env = "RIFT_REPOSITORY_URI",
        value_parser = address,
        default_value = "pvc://models/triton"
    )]
    pub repository_uri: String,
    /// KServe: the container image that runs `rift-runtime`.
    #[arg(long, value_name = "IMAGE", env = "RIFT_IMAGE", value_parser = address,
          default_value = concat!("rift-runtime:", env!("CARGO_PKG_VERSION")))]
    pub image: String,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number of at least 0, such as `1e-4`".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("expected an address without spaces".to_owned());
    }
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("expected a name of printable characters".to_owned());
    }
    Ok(text.to_owned())
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

    #[test]
    fn a_tolerance_is_a_finite_number() {
        assert_eq!(tolerance("1e-3"), Ok(1e-3));
        for text in ["-1", "nan", "inf", "small"] {
            assert!(tolerance(text).is_err(), "{text}");
        }
    }
}
