//! What can go wrong between Rift and libtorch.

use rift_models::artifact::{ApplyError, CheckpointError};
use tch::TchError;

/// An error of libtorch, in one line.
///
/// libtorch's messages go on with a C++ backtrace; only their first line says anything to a user.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {0}")]
pub struct TorchError(String);

impl TorchError {
    /// A node reads what this pass has not computed: the activations are another network's.
    pub(crate) fn missing(node: &str) -> Self {
        Self(format!("`{node}` reads a value that was not computed"))
    }
}

impl From<TchError> for TorchError {
    fn from(error: TchError) -> Self {
        let message = match error {
            TchError::Torch(message) => message,
            other => other.to_string(),
        };
        Self(message.lines().next().unwrap_or_default().trim().to_owned())
    }
}

/// A network that cannot be put on a device.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The tensors are not those of the graph.
    #[error("the weights do not fit the network")]
    Apply(#[from] ApplyError),
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint whose classes are not named one by one.
    #[error("`{path}` names {found} classes, expected {expected}, one a logit")]
    Classes {
        /// The checkpoint.
        path: String,
        /// Logits of the network.
        expected: usize,
        /// Names.
        found: usize,
    },
    /// A device that this machine does not have.
    #[error(transparent)]
    Device(#[from] super::device::DeviceError),
    /// libtorch failed, for want of memory most of the time.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<TchError> for NetworkError {
    fn from(error: TchError) -> Self {
        Self::Torch(error.into())
    }
}
