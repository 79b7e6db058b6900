//! What each epoch came to, a line of JSON an epoch.

use std::path::Path;

use rift_models::artifact::atomic::{self, AtomicError};
use serde::{Deserialize, Serialize};

/// One epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// The mean loss over what was trained on.
    pub train_loss: f64,
    /// The accuracy on what was trained on, which is adversarial in adversarial training.
    pub train_accuracy: f64,
    /// Training images that were judged like those of validation.
    #[serde(default)]
    pub training_n: usize,
    /// How many of them were classified correctly.
    #[serde(default)]
    pub training_clean: usize,
    /// How many of them stood under the attack of validation; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_robust: Option<usize>,
    /// Validation images that were judged.
    pub validation_n: usize,
    /// How many of them were classified correctly.
    pub validation_clean: usize,
    /// How many of them stood under attack; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_robust: Option<usize>,
    /// Whether it is the best so far.
    pub best: bool,
    /// Wall-clock seconds of training and validation.
    pub seconds: f64,
}

impl EpochMetrics {
    /// By what epochs are compared: robust first where there is an attack, then clean.
    pub fn score(&self) -> (usize, usize) {
        (self.validation_robust.unwrap_or(self.validation_clean), self.validation_clean)
    }

    /// The epoch as scalars for TensorBoard; what was not measured is left out.
    pub fn scalars(&self) -> Vec<(&'static str, f64)> {
        let training = Some(self.training_n).filter(|n| *n > 0);
        let share = |count: Option<usize>, n: Option<usize>| Some(count? as f64 / n? as f64);
        let validation = Some(self.validation_n);
        [
            ("epoch/train_loss", Some(self.train_loss)),
            ("epoch/train_accuracy", Some(self.train_accuracy)),
            ("epoch/training_clean", share(Some(self.training_clean), training)),
            ("epoch/training_robust", share(self.training_robust, training)),
            ("epoch/validation_clean", share(Some(self.validation_clean), validation)),
            ("epoch/validation_robust", share(self.validation_robust, validation)),
            ("epoch/seconds", Some(self.seconds)),
        ]
        .into_iter()
        .filter_map(|(tag, value)| Some((tag, value?)))
        .collect()
    }

    /// The epoch as a line for people.
    pub fn describe(&self, epochs: usize) -> String {
        let percent = |count: usize| 100.0 * count as f64 / self.validation_n.max(1) as f64;
        let robust = self
            .validation_robust
            .map(|n| format!(", robust {:.2} %", percent(n)))
            .unwrap_or_default();
        format!(
            "epoch {}/{epochs}: loss {:.4}, train {:.2} %, validation clean {:.2} %{robust}, {:.0} s{}",
            self.epoch,
            self.train_loss,
            100.0 * self.train_accuracy,
            percent(self.validation_clean),
            self.seconds,
            if self.best { ", best" } else { "" }
        )
    }
}

/// Writes all epochs so far, a line each; the file is whole at every moment.
///
/// # Errors
/// If the disk is full or the path cannot be written.
pub fn write(path: &Path, epochs: &[EpochMetrics]) -> Result<(), AtomicError> {
    atomic::write_with(path, |file| {
        use std::io::Write;
        let mut lines = Vec::new();
        for epoch in epochs {
            serde_json::to_writer(&mut lines, epoch)?;
            lines.push(b'\n');
        }
        file.write_all(&lines)
    })
}
