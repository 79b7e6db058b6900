//! Why a training cannot go on.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

use rift_models::artifact::atomic::AtomicError;
use rift_models::artifact::{CheckpointError, TensorFileError};

use super::position::Position;
use crate::config::ConfigError;
use crate::network::{NetworkError, TorchError};
use crate::stage::StepError;

/// A training that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The run folder holds a training, and it was not asked to be resumed.
    #[error(
        "`{run}` holds a training {at}, of {epochs}: continue it with `--resume`, or choose another `--out`"
    )]
    Exists {
        /// The folder.
        run: PathBuf,
        /// Where it is.
        at: Position,
        /// Epochs in all.
        epochs: usize,
    },
    /// Another process trains in the folder.
    #[error("another training is at work in `{0}`: wait for its end, or choose another `--out`")]
    Busy(PathBuf),
    /// The run in the folder has other settings.
    #[error(
        "`{run}` was started with {}: a training resumes with its own settings only",
        list(differences)
    )]
    Changed {
        /// The folder.
        run: PathBuf,
        /// Every setting that differs.
        differences: Vec<Difference>,
    },
    /// The loss is no number any more.
    #[error(transparent)]
    Diverged(Box<Divergence>),
    /// The state cannot be read or written.
    #[error("the state of the training")]
    State(#[source] TensorFileError),
    /// The description of the state cannot be written.
    #[error("the state of the training cannot be described: {0}")]
    Describe(#[from] toml::ser::Error),
    /// The description of the state does not parse.
    #[error("`{path}` is not the state of a training")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Where it fails.
        #[source]
        source: toml::de::Error,
    },
    /// The state is of another version.
    #[error(
        "`{path}` has state format {found}, this version reads {expected}: finish the training with the version that started it"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The settings cannot be written as a file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A step cannot be taken.
    #[error(transparent)]
    Step(#[from] StepError),
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

impl From<TensorFileError> for TrainError {
    fn from(error: TensorFileError) -> Self {
        Self::State(error)
    }
}

impl TrainError {
    /// Whether a file could not be written, which may be another matter in ten minutes.
    pub(super) fn is_of_the_disk(&self) -> bool {
        matches!(
            self,
            Self::Write(_)
                | Self::State(TensorFileError::Write(_))
                | Self::Checkpoint(CheckpointError::File(TensorFileError::Write(_)))
        )
    }

    /// The error with its causes, in one line.
    pub(super) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}

/// A setting that is not the run's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The setting.
    pub key: String,
    /// The run's value.
    pub found: String,
    /// The one that was given.
    pub given: String,
}

fn list(differences: &[Difference]) -> String {
    let each = differences
        .iter()
        .map(|Difference { key, found, given }| format!("`{key}` = {found}, now it is {given}"));
    each.collect::<Vec<_>>().join("; ")
}

/// So many images of a batch are named in a line; all of them are in the file.
const NAMED: usize = 8;

/// Where a training left the numbers.
#[derive(Debug)]
pub struct Divergence {
    /// What is no finite number.
    pub what: &'static str,
    /// Its value.
    pub loss: f64,
    /// The epoch of the step, from 1.
    pub epoch: usize,
    /// The step within the epoch, from 1.
    pub step: usize,
    /// The learning rate of the step.
    pub rate: f64,
    /// The step's images, by their places in the training images.
    pub images: Vec<usize>,
    /// The last state that was written, and after how many epochs and steps.
    pub state: Option<(PathBuf, Position)>,
    /// The file with all of this.
    pub report: PathBuf,
}

impl std::fmt::Display for Divergence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, loss, epoch, step, rate, images, state, report } = self;
        let named: Vec<String> = images.iter().take(NAMED).map(ToString::to_string).collect();
        write!(f, "{what} is {loss} in step {step} of epoch {epoch}, at the training images ")?;
        write!(f, "{}", named.join(", "))?;
        if let more @ 1.. = images.len().saturating_sub(NAMED) {
            write!(f, " and {more} more (all in `{}`)", report.display())?;
        }
        match state {
            Some((path, at)) => {
                write!(f, "; the last good checkpoint is `{}` ({at})", path.display())?;
            }
            None => write!(f, "; no checkpoint was written before")?,
        }
        write!(f, ": the training diverged, try a learning rate below {rate:.3e}")
    }
}

impl Error for Divergence {}
