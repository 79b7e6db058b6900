//! Values that no training can have.

use std::fmt::Display;

use super::{ConfigError, Settings};
use crate::objective::Method;

fn check(
    fine: bool,
    key: &'static str,
    found: &dyn Display,
    expected: &'static str,
) -> Result<(), ConfigError> {
    let error = || ConfigError::Value { key, found: format!("`{found}`"), expected };
    if fine { Ok(()) } else { Err(error()) }
}

/// Checks a value that may be absent.
fn check_some(
    value: Option<f64>,
    fine: impl Fn(f64) -> bool,
    key: &'static str,
    expected: &'static str,
) -> Result<(), ConfigError> {
    value.map_or(Ok(()), |value| check(fine(value), key, &value, expected))
}

fn unit(value: f64) -> bool {
    (0.0..1.0).contains(&value)
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

impl Settings {
    /// Checks that every milestone comes before the end, where the rate falls at them.
    pub(super) fn check_milestones(&self) -> Result<(), ConfigError> {
        let late = self.milestones.iter().find(|milestone| **milestone >= self.epochs);
        check(late.is_none(), "milestones", late.unwrap_or(&0), "fewer than the epochs")
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check(self.epochs > 0, "epochs", &self.epochs, "at least 1")?;
        check(self.batch_size > 1, "batch_size", &self.batch_size, "at least 2")?;
        check(self.limit != Some(0), "limit", &0, "at least 1")?;
        check(positive(self.learning_rate), "learning_rate", &self.learning_rate, "above 0")?;
        check(positive(self.decay), "decay", &self.decay, "above 0")?;
        check(unit(self.warmup), "warmup", &self.warmup, "from 0 to below 1")?;
        check(unit(self.momentum), "momentum", &self.momentum, "from 0 to below 1")?;
        let looks_ahead = !self.nesterov || self.momentum > 0.0;
        check(looks_ahead, "nesterov", &self.nesterov, "`false` without momentum")?;
        let penalty = self.weight_decay;
        check(penalty == 0.0 || positive(penalty), "weight_decay", &penalty, "at least 0")?;
        check_some(self.clip_gradient, positive, "clip_gradient", "above 0")?;
        check_some(self.ema, unit, "ema", "from 0 to below 1")?;
        check_some(self.ema_warmup, unit, "ema_warmup", "from 0 to below 1")?;
        check(self.validation_limit > 0, "validation_limit", &0, "at least 1")?;
        self.validate_method()?;
        self.validate_extra()
    }

    fn validate_method(&self) -> Result<(), ConfigError> {
        check_some(self.beta, positive, "beta", "above 0")?;
        check_some(self.loss_clip, unit, "loss_clip", "from 0 to below 1")?;
        let half = |value| (0.0..=0.5).contains(&value);
        check_some(self.label_smoothing, half, "label_smoothing", "from 0 to 0.5")?;
        check_some(self.awp_gamma, positive, "awp_gamma", "above 0")?;
        let warmup = self.awp_warmup.unwrap_or(0);
        check(warmup < self.epochs, "awp_warmup", &warmup, "fewer than the epochs")?;
        check(self.probe_every != Some(0), "probe_every", &0, "at least 1")?;
        check(self.probe_steps != Some(0), "probe_steps", &0, "at least 1")?;
        if self.method == Method::FastAt {
            let single = "1 with the method `fast-at`: `at` takes several";
            check(self.steps == 1, "steps", &self.steps, single)?;
        }
        Ok(())
    }

    fn validate_extra(&self) -> Result<(), ConfigError> {
        let part = |value| value > 0.0 && value < 1.0;
        check_some(self.extra_fraction, part, "extra_fraction", "above 0 and below 1")?;
        let whole = |fraction| self.batch_size as f64 * fraction >= 1.0;
        check_some(self.extra_fraction, whole, "extra_fraction", "at least an image of a batch")
    }
}
