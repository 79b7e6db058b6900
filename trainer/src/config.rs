//! The settings of a training: a preset, under a file, under flags.

mod flags;
mod preset;
mod resolve;
mod takes;
#[cfg(test)]
mod tests;
mod training;
mod validate;

pub use flags::SettingFlags;
pub use preset::Preset;

use std::collections::BTreeSet;
use std::path::PathBuf;

use rift_models::threat::{Epsilon, Norm};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::attack::{CraftMode, InnerLoss, Start};
use crate::network::Precision;
use crate::objective::Method;
use crate::optim::ScheduleKind;
use crate::stage::OnOverfitting;

/// Everything that decides what a training gives. Every field is a key of the configuration file
/// and a flag; `RUN/run.toml` holds them all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The data set.
    pub data: PathBuf,
    /// Only the first so many training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// More images of the same classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_data: Option<PathBuf>,
    /// Their part of each batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_fraction: Option<f64>,
    /// The architecture.
    pub arch: String,
    /// Channels of its first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// What is minimised.
    pub method: Method,
    /// The weight of the second term of TRADES and MART; with it SCORE takes the form of TRADES.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// The part of a label that SCORE lets go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_clip: Option<f64>,
    /// The part of a label that goes to the other classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f64>,
    /// Whether the weights are perturbed too.
    #[serde(default)]
    pub awp: bool,
    /// How far, in lengths of the weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awp_gamma: Option<f64>,
    /// Epochs before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awp_warmup: Option<usize>,
    /// The norm of the ball.
    pub norm: Norm,
    /// The ball's radius, in pixel units.
    pub eps: Epsilon,
    /// The length of a step of the attack, in pixel units.
    pub step: Epsilon,
    /// Steps of the attack.
    pub steps: usize,
    /// What the attack ascends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_loss: Option<InnerLoss>,
    /// Where it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// What batch normalisation does meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub craft_mode: Option<CraftMode>,
    /// Steps of Fast-AT between two looks at catastrophic overfitting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_every: Option<usize>,
    /// Steps of the attack that looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_steps: Option<usize>,
    /// What follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_overfitting: Option<OnOverfitting>,
    /// Epochs.
    pub epochs: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// The first rate, or the peak of the cycle.
    pub learning_rate: f64,
    /// The shape of the rate.
    pub schedule: ScheduleKind,
    /// Epochs after which the rate falls.
    pub milestones: Vec<usize>,
    /// The factor by which it falls.
    pub decay: f64,
    /// The part of the training in which it rises.
    pub warmup: f64,
    /// The momentum.
    pub momentum: f64,
    /// Whether to look ahead along the momentum.
    pub nesterov: bool,
    /// The penalty on the weights.
    pub weight_decay: f64,
    /// Whether it falls on batch normalisation too.
    pub decay_batch_norm: bool,
    /// The longest gradient that is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_gradient: Option<f64>,
    /// How much an average of the weights keeps at a step; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// The part of the training before it sets in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_warmup: Option<f64>,
    /// Pixels of reflection around an image before it is cropped; an eighth of the side by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad: Option<usize>,
    /// Whether to mirror half of the images; by default where they have three channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip: Option<bool>,
    /// Channel means that normalise the input; those of the training images by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Channel standard deviations that normalise the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// At most so many validation images are judged after each epoch.
    pub validation_limit: usize,
    /// Steps of the attack that judges.
    pub validation_steps: usize,
    /// So many training images, spread over the set, are judged like those of validation.
    #[serde(default = "monitor_limit")]
    pub monitor_limit: usize,
    /// In which numbers the network computes while it trains.
    #[serde(default)]
    pub precision: Precision,
    /// The seed of weights, order, augmentation and noise.
    pub seed: u64,
}

/// Settings that make no training.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("`{path}` is not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A key is unknown, missing or of another type.
    #[error("invalid settings: {0}")]
    Key(String),
    /// A value that no training can have.
    #[error("`{key}` is {found}, expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A setting that says nothing beside the others.
    #[error("`{key}` has no effect {without}")]
    Idle {
        /// The setting.
        key: &'static str,
        /// Beside what.
        without: String,
    },
}

impl Settings {
    /// The keys in which `other` differs, each with both values.
    ///
    /// # Errors
    /// If a path is not text.
    pub fn differences(&self, other: &Self) -> Result<Vec<(String, String, String)>, ConfigError> {
        let [ours, theirs]: [Table; 2] = [
            Table::try_from(self).map_err(|error| ConfigError::Key(one_line(&error)))?,
            Table::try_from(other).map_err(|error| ConfigError::Key(one_line(&error)))?,
        ];
        let show = |table: &Table, key: &str| {
            table.get(key).map_or("not set".to_owned(), |value| format!("`{value}`"))
        };
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        Ok(keys
            .into_iter()
            .filter(|key| ours.get(*key) != theirs.get(*key))
            .map(|key| (key.clone(), show(&ours, key), show(&theirs, key)))
            .collect())
    }

    /// The settings as a file that [`resolve`](Self::resolve) reads.
    ///
    /// # Errors
    /// If a path is not text.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Key(one_line(&error)))
    }
}

fn monitor_limit() -> usize {
    500
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
