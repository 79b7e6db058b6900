//! A training between two steps, in one file.

use std::collections::BTreeMap;
use std::path::Path;

use rift_models::artifact::{Digest, TensorMap, tensors};
use serde::{Deserialize, Serialize};

use super::position::Position;
use super::{Difference, TrainError};
use crate::config::Settings;
use crate::record::EpochMetrics;

/// The key of the description in the header.
const KEY: &str = "rift-training";
/// The version of the format.
const FORMAT: u32 = 2;
/// The section of the network's parameters and buffers.
pub(super) const NETWORK: &str = "network";
/// The section of the optimiser's velocities.
pub(super) const VELOCITY: &str = "velocity";
/// The section of what the steps remember: averaged weights, a single step that was given up.
pub(super) const STEPPER: &str = "stepper";

/// What a training needs to go on: there is no other state, since every draw is keyed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TrainingState {
    pub(super) description: Description,
    /// What each part of the training remembers, by the part's name.
    pub(super) sections: BTreeMap<String, TensorMap>,
}

/// What must be the same for a training to be the same, and where it is.
///
/// It is written as TOML, whose numbers come back as they were; those of JSON may come back as
/// their neighbours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) format: u32,
    /// The training images.
    pub(super) data: Digest,
    pub(super) position: Position,
    pub(super) settings: Settings,
    /// The epochs done.
    #[serde(default)]
    pub(super) epochs: Vec<EpochMetrics>,
}

impl Description {
    pub(super) fn new(
        settings: Settings,
        data: Digest,
        position: Position,
        epochs: Vec<EpochMetrics>,
    ) -> Self {
        Self { format: FORMAT, data, position, settings, epochs }
    }

    /// In what a training with these settings on these images would be another.
    pub(super) fn differences(
        &self,
        settings: &Settings,
        data: &Digest,
    ) -> Result<Vec<Difference>, TrainError> {
        let of = |(key, found, given)| Difference { key, found, given };
        let mut all: Vec<_> = self.settings.differences(settings)?.into_iter().map(of).collect();
        if self.data != *data {
            let [found, given] = [&self.data, data].map(|digest| digest.short().to_owned());
            all.push(of(("digest of the training images".to_owned(), found, given)));
        }
        Ok(all)
    }
}

impl TrainingState {
    /// What a part remembers; nothing where it wrote nothing.
    pub(super) fn section(&self, name: &str) -> TensorMap {
        self.sections.get(name).cloned().unwrap_or_default()
    }

    /// The first tensor that holds something else than finite numbers.
    pub(super) fn broken(&self) -> Option<String> {
        self.sections.iter().find_map(|(section, tensors)| {
            let broken = tensors.iter().find(|(_, t)| !t.iter().all(|value| value.is_finite()));
            broken.map(|(name, _)| format!("{section}/{name}"))
        })
    }

    /// Writes the state; what was there before is replaced at once.
    pub(super) fn write(&self, path: &Path) -> Result<(), TrainError> {
        let text = toml::to_string(&self.description)?;
        let named = self.sections.iter().flat_map(|(section, tensors)| {
            tensors.iter().map(move |(name, tensor)| (format!("{section}/{name}"), tensor.clone()))
        });
        let tensors: TensorMap = named.collect();
        tensors::write(path, &tensors, BTreeMap::from([(KEY.to_owned(), text)]))?;
        Ok(())
    }

    /// Reads a state.
    pub(super) fn read(path: &Path) -> Result<Self, TrainError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let file = tensors::read(path)?;
        let text = file.metadata.get(KEY).map_or("", String::as_str);
        let foreign = |source| TrainError::Foreign { path: path.to_owned(), source };
        let Version { format: found } = toml::from_str(text).map_err(foreign)?;
        if found != FORMAT {
            return Err(TrainError::Format { path: path.to_owned(), found, expected: FORMAT });
        }
        let description = toml::from_str(text).map_err(foreign)?;
        let mut sections = BTreeMap::<String, TensorMap>::new();
        for (name, tensor) in file.tensors {
            let (section, name) = name.split_once('/').unwrap_or((NETWORK, &name));
            sections.entry(section.to_owned()).or_default().insert(name.to_owned(), tensor);
        }
        Ok(Self { description, sections })
    }
}
