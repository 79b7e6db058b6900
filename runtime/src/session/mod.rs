//! Sessions of ONNX Runtime: the [`library`], one [`Classifier`], the [`Worker`]s that run it and
//! the [`Pool`] of them.

pub mod ahead;
mod classifier;
mod file;
mod intake;
pub mod library;
mod observe;
mod options;
mod packer;
mod pool;
mod provider;
mod role;
mod runner;
mod signature;
#[cfg(test)]
mod tests;
pub mod trace;
mod worker;

pub use classifier::{Classifier, Opening, Precaution};
pub use file::ModelFile;
pub use library::{Library, LibraryError};
pub use observe::Observer;
pub use options::{BuildError, SessionOptions, build};
pub use packer::Packer;
pub use pool::{Pool, spread};
pub use provider::{Engine, NameError, Precision, PrecisionError, Provider};
pub use role::Role;
pub use runner::{Element, Runner, Stop};
pub use worker::Worker;

use rift_models::artifact::{BundleError, DigestError};
use rift_models::onnx::OnnxError;

/// A model that cannot be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// ONNX Runtime cannot be had.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The bundle is not whole.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The file cannot be read.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// There is nothing at the path.
    #[error("cannot open model `{path}`, expected a bundle folder or an `.onnx` file")]
    Read {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is no ONNX model that can be used.
    #[error("`{path}` is not a usable ONNX model")]
    Onnx {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        source: OnnxError,
    },
    /// ONNX Runtime refuses the model.
    #[error("ONNX Runtime cannot load `{path}`")]
    Load {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: ort::Error,
    },
    /// The provider cannot be had.
    #[error("`{library}` has no provider `{provider}` that works here{}", hint(*provider))]
    Provider {
        /// The provider.
        provider: Provider,
        /// ONNX Runtime's library.
        library: String,
        /// Why not.
        #[source]
        source: ort::Error,
    },
    /// The model is something else than a classifier of images.
    #[error(
        "`{path}` is not an image classifier: expected one input of float or byte images, N×C×H×W \
         or N×H×W×C, and logits N×K, {found}"
    )]
    NotClassifier {
        /// The file.
        path: String,
        /// What was found.
        found: String,
    },
    /// What is said of the model does not fit it.
    #[error("the model cannot be read so: {what}")]
    Reading {
        /// What does not fit.
        what: String,
    },
    /// The images do not fit the model.
    #[error("expected images of {expected:?} (channels, height, width), found {found:?}")]
    Shape {
        /// What the model takes.
        expected: [usize; 3],
        /// What was given.
        found: [usize; 3],
    },
    /// A gradient is asked of a worker that was made without.
    #[error("the worker has no gradient graph")]
    NoGradient,
    /// The model fails while it runs.
    #[error("ONNX Runtime fails to run the model")]
    Run(#[source] ort::Error),
    /// The model gives something else than it declares.
    #[error("the model's output `{output}` has shape {found:?}, expected {expected:?}")]
    Output {
        /// The output.
        output: String,
        /// The shape that it has.
        found: Vec<i64>,
        /// The shape that it should have.
        expected: Vec<i64>,
    },
}

/// Where a provider can be had from.
fn hint(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenVino => " (`make setup-openvino` installs one that has)",
        Provider::Cpu | Provider::Cuda | Provider::Xnnpack => {
            " (name a build that has by `--onnxruntime`)"
        }
    }
}
