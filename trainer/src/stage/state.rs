//! A training between two epochs, in one file.

use std::collections::BTreeMap;
use std::path::Path;

use rift_models::artifact::tensors::{self, TensorFileError};
use rift_models::artifact::{Digest, TensorMap};
use serde::{Deserialize, Serialize};

use super::train::TrainError;
use crate::config::Settings;
use crate::record::EpochMetrics;

/// The key of the description in the header.
const KEY: &str = "rift-training";
/// What the names of the optimiser's tensors begin with; no parameter's name does.
const VELOCITY: &str = "velocity/";
/// The version of the format.
const FORMAT: u32 = 1;

/// What a training needs to go on: there is no other state, since every draw is keyed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TrainingState {
    pub(super) description: Description,
    /// Parameters and buffers.
    pub(super) network: TensorMap,
    /// The optimiser's velocities.
    pub(super) velocity: TensorMap,
}

/// What must be the same for a training to be the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) format: u32,
    pub(super) settings: Settings,
    /// The training images.
    pub(super) data: Digest,
    /// The epochs done.
    pub(super) epochs: Vec<EpochMetrics>,
}

impl Description {
    pub(super) fn new(settings: Settings, data: Digest, epochs: Vec<EpochMetrics>) -> Self {
        Self { format: FORMAT, settings, data, epochs }
    }
}

impl TrainingState {
    /// Writes the state; what was there before is replaced at once.
    pub(super) fn write(&self, path: &Path) -> Result<(), TrainError> {
        let text = serde_json::to_string(&self.description)
            .map_err(|source| TrainError::Describe { path: path.to_owned(), source })?;
        let mut tensors = self.network.clone();
        for (name, velocity) in &self.velocity {
            tensors.insert(format!("{VELOCITY}{name}"), velocity.clone());
        }
        tensors::write(path, &tensors, BTreeMap::from([(KEY.to_owned(), text)]))?;
        Ok(())
    }

    /// Reads a state.
    pub(super) fn read(path: &Path) -> Result<Self, TrainError> {
        let file = tensors::read(path)?;
        let text = file.metadata.get(KEY).map_or("", String::as_str);
        let description: Description = serde_json::from_str(text)
            .map_err(|source| TrainError::Describe { path: path.to_owned(), source })?;
        if description.format != FORMAT {
            let found = description.format;
            return Err(TrainError::Format { path: path.to_owned(), found, expected: FORMAT });
        }
        let (mut network, mut velocity) = (TensorMap::new(), TensorMap::new());
        for (name, tensor) in file.tensors {
            match name.strip_prefix(VELOCITY) {
                Some(name) => velocity.insert(name.to_owned(), tensor),
                None => network.insert(name, tensor),
            };
        }
        Ok(Self { description, network, velocity })
    }
}

impl From<TensorFileError> for TrainError {
    fn from(error: TensorFileError) -> Self {
        Self::State(error)
    }
}
