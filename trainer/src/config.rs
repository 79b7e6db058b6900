//! The settings of a training: a preset, under a file, under flags.

mod flags;

pub use flags::SettingFlags;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use rift_models::threat::{AttackSpec, Epsilon, Norm};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::attack::quarter;
use crate::network::Precision;
use crate::objective::Method;
use crate::optim::{Schedule, ScheduleKind, SgdSettings};

/// Settings that a training starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// The paper's: 110 epochs, PGD-10, the rate falls at 100 and 105.
    #[default]
    RiftPaper,
    /// A few epochs on one cycle, PGD-4: for demonstrations and processors.
    Quick,
}

impl Preset {
    fn text(self) -> &'static str {
        match self {
            Self::RiftPaper => include_str!("config/rift-paper.toml"),
            Self::Quick => include_str!("config/quick.toml"),
        }
    }
}

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
    /// The architecture.
    pub arch: String,
    /// Channels of its first stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// What is minimised.
    pub method: Method,
    /// The norm of the ball.
    pub norm: Norm,
    /// The ball's radius, in pixel units.
    pub eps: Epsilon,
    /// The length of a step of the attack, in pixel units.
    pub step: Epsilon,
    /// Steps of the attack.
    pub steps: usize,
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
}

impl Settings {
    /// The settings of `preset`, under those of the file, under the flags.
    ///
    /// Where the number of epochs is changed and milestones are not given, the preset's milestones
    /// keep their place in the training.
    ///
    /// # Errors
    /// If the file cannot be read, a key is unknown or missing, or a value is impossible.
    pub fn resolve(
        preset: Preset,
        file: Option<&Path>,
        flags: &SettingFlags,
    ) -> Result<Self, ConfigError> {
        let key_error = |error: &dyn std::fmt::Display| ConfigError::Key(one_line(error));
        let base: Table = preset.text().parse().map_err(|error| key_error(&error))?;
        let mut given = file.map(read_table).transpose()?.unwrap_or_default();
        let flags = Table::try_from(flags).map_err(|error| key_error(&error))?;
        given.extend(flags);
        if given.get("norm").and_then(|n| n.as_str()) == Some("l2") {
            for (key, expected) in [("eps", "a radius, such as `0.5`"), ("step", "such as `0.1`")] {
                if !given.contains_key(key) {
                    return Err(ConfigError::Value { key, found: "not set".to_owned(), expected });
                }
            }
        }
        let moves = given.contains_key("epochs") && !given.contains_key("milestones");
        let mut table = base.clone();
        table.extend(given);
        let mut settings: Self = table.try_into().map_err(|error| missing(&error))?;
        if let (true, Some(epochs)) = (moves, base.get("epochs").and_then(toml::Value::as_integer))
        {
            let scale = settings.epochs as f64 / epochs as f64;
            for milestone in &mut settings.milestones {
                *milestone = (*milestone as f64 * scale).round() as usize;
            }
        }
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let check = |fine: bool, key, found: &dyn std::fmt::Display, expected| {
            let error = || ConfigError::Value { key, found: format!("`{found}`"), expected };
            if fine { Ok(()) } else { Err(error()) }
        };
        let unit = |value: f64| (0.0..1.0).contains(&value);
        let positive = |value: f64| value.is_finite() && value > 0.0;
        check(self.epochs > 0, "epochs", &self.epochs, "at least 1")?;
        check(self.batch_size > 1, "batch_size", &self.batch_size, "at least 2")?;
        check(self.limit != Some(0), "limit", &0, "at least 1")?;
        check(positive(self.learning_rate), "learning_rate", &self.learning_rate, "above 0")?;
        check(positive(self.decay), "decay", &self.decay, "above 0")?;
        check(unit(self.warmup), "warmup", &self.warmup, "from 0 to below 1")?;
        check(unit(self.momentum), "momentum", &self.momentum, "from 0 to below 1")?;
        let penalty = self.weight_decay;
        check(penalty == 0.0 || positive(penalty), "weight_decay", &penalty, "at least 0")?;
        check(self.validation_limit > 0, "validation_limit", &0, "at least 1")
    }

    /// The attack of the training, and with it the threat that the network is trained against.
    pub fn attack(&self) -> AttackSpec {
        AttackSpec {
            norm: self.norm,
            eps: self.eps.clone(),
            step: self.step.clone(),
            steps: self.steps,
            restarts: 1,
            random_start: true,
            early_stop: true,
            seed: self.seed,
        }
    }

    /// The attack that judges an epoch; its step is a quarter of the radius, whatever the
    /// training's is.
    pub fn validation_attack(&self) -> AttackSpec {
        let step = quarter(&self.eps).unwrap_or_else(|_| self.step.clone());
        AttackSpec { step, steps: self.validation_steps, ..self.attack() }
    }

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

    /// The learning rate.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            kind: self.schedule,
            rate: self.learning_rate,
            epochs: self.epochs,
            milestones: self.milestones.clone(),
            decay: self.decay,
            warmup: self.warmup,
        }
    }

    /// The optimiser's part.
    pub fn sgd(&self) -> SgdSettings {
        SgdSettings {
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
            decay_batch_norm: self.decay_batch_norm,
        }
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

fn read_table(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: located(&error, &text),
    })
}

fn located(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    let message = one_line(&error.message());
    line.map_or(message.clone(), |line| format!("line {line}: {message}"))
}

fn missing(error: &toml::de::Error) -> ConfigError {
    let message = one_line(&error.message());
    let hint = match message.as_str() {
        "missing field `data`" => " (give `--data PATH`, or the key in the file)",
        "missing field `arch`" => " (give `--arch NAME`, or the key in the file)",
        _ => "",
    };
    ConfigError::Key(format!("{message}{hint}"))
}

fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> SettingFlags {
        SettingFlags {
            data: Some("images".into()),
            arch: Some("resnet18".into()),
            ..SettingFlags::default()
        }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn flags_go_before_the_file_before_the_preset() {
        let (_folder, path) = file("epochs = 20\nsteps = 7\nflip = false\n");
        let given = SettingFlags { steps: Some(3), ..flags() };
        let settings = Settings::resolve(Preset::RiftPaper, Some(&path), &given).unwrap();
        assert_eq!((settings.epochs, settings.steps, settings.flip), (20, 3, Some(false)));
        assert_eq!((settings.batch_size, settings.momentum), (128, 0.9));
        assert_eq!(settings.milestones, [18, 19], "in the same places of a shorter training");
    }

    #[test]
    fn the_resolved_file_resolves_to_itself() {
        for preset in [Preset::RiftPaper, Preset::Quick] {
            let given = SettingFlags {
                mean: Some(vec![0.1, 0.2, 0.3]),
                epochs: Some(3),
                pad: Some(0),
                ..flags()
            };
            let settings = Settings::resolve(preset, None, &given).unwrap();
            let (_folder, path) = file(&settings.to_toml().unwrap());
            let none = SettingFlags::default();
            for other in [Preset::RiftPaper, Preset::Quick] {
                assert_eq!(Settings::resolve(other, Some(&path), &none).unwrap(), settings);
            }
        }
    }

    #[test]
    fn refuses_what_it_does_not_know_in_one_line() {
        for (text, expected) in [
            ("learningrate = 0.1", "unknown field `learningrate`"),
            ("epochs = \"many\"", "invalid type"),
            ("eps = \"8/0\"", "expected a denominator other than 0"),
            ("epochs = 0", "`epochs` is `0`, expected at least 1"),
            ("momentum = 1.0", "`momentum` is `1`"),
            ("norm = \"l2\"", "`eps` is not set, expected a radius"),
            ("epochs = = 3", "line 1"),
        ] {
            let (_folder, path) = file(text);
            let error = Settings::resolve(Preset::Quick, Some(&path), &flags()).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(expected) && !message.contains('\n'), "{text}: {message}");
        }
        let none = SettingFlags::default();
        let error = Settings::resolve(Preset::Quick, None, &none).unwrap_err().to_string();
        assert!(error.contains("`data`") && error.contains("--data"), "{error}");
    }
}
