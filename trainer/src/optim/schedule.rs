//! The learning rate over a training.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The shape of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Falls by a factor at each milestone.
    Steps,
    /// Rises linearly to the peak, then falls to nothing along a cosine.
    OneCycle,
    /// Falls to nothing along a cosine.
    Cosine,
    /// Rises linearly to the peak, then falls to nothing linearly.
    Cyclic,
}

/// A schedule's name that is not known.
#[derive(Debug, thiserror::Error)]
#[error("unknown schedule `{0}`, expected `steps`, `one-cycle`, `cosine` or `cyclic`")]
pub struct ScheduleError(String);

impl FromStr for ScheduleKind {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "steps" => Ok(Self::Steps),
            "one-cycle" => Ok(Self::OneCycle),
            "cosine" => Ok(Self::Cosine),
            "cyclic" => Ok(Self::Cyclic),
            _ => Err(ScheduleError(text.to_owned())),
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "steps",
            Self::OneCycle => "one-cycle",
            Self::Cosine => "cosine",
            Self::Cyclic => "cyclic",
        })
    }
}

/// The learning rate as a function of the epochs done.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The shape.
    pub kind: ScheduleKind,
    /// The first rate of steps and cosine, the peak of the others.
    pub rate: f64,
    /// Epochs in all.
    pub epochs: usize,
    /// The epochs after which the rate falls; [`ScheduleKind::Steps`] only.
    pub milestones: Vec<usize>,
    /// The factor at each milestone.
    pub decay: f64,
    /// The part of the training in which the rate rises; [`ScheduleKind::OneCycle`] and
    /// [`ScheduleKind::Cyclic`] only.
    pub warmup: f64,
}

impl Schedule {
    /// The rate after `epochs` epochs, of which the last may be under way: 2.5 is in the middle of
    /// the third.
    pub fn at(&self, epochs: f64) -> f64 {
        match self.kind {
            ScheduleKind::Steps => {
                let passed = self.milestones.iter().filter(|m| epochs >= **m as f64).count();
                self.rate * self.decay.powi(passed as i32)
            }
            ScheduleKind::OneCycle => self.cycle(epochs, self.warmup, cosine),
            ScheduleKind::Cosine => self.cycle(epochs, 0.0, cosine),
            ScheduleKind::Cyclic => self.cycle(epochs, self.warmup, |falling| 1.0 - falling),
        }
    }

    /// Up along a line for the part `warmup` of the training, then down by `fall`.
    fn cycle(&self, epochs: f64, warmup: f64, fall: impl Fn(f64) -> f64) -> f64 {
        let done = epochs / self.epochs.max(1) as f64;
        if done < warmup {
            self.rate * done / warmup
        } else {
            self.rate * fall(((done - warmup) / (1.0 - warmup)).min(1.0))
        }
    }
}

/// From 1 to 0 along half a wave.
fn cosine(falling: f64) -> f64 {
    0.5 * (1.0 + (PI * falling).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: ScheduleKind) -> Schedule {
        let milestones = vec![100, 105];
        Schedule { kind, rate: 0.1, epochs: 110, milestones, decay: 0.1, warmup: 0.2 }
    }

    #[test]
    fn the_papers_steps() {
        let steps = schedule(ScheduleKind::Steps);
        for (epochs, rate) in [(0.0, 0.1), (99.99, 0.1), (100.0, 0.01), (105.0, 0.001)] {
            assert!((steps.at(epochs) - rate).abs() < 1e-12, "{epochs}");
        }
    }

    #[test]
    fn one_cycle_rises_and_falls_to_nothing() {
        let cycle = schedule(ScheduleKind::OneCycle);
        assert_eq!(cycle.at(0.0), 0.0);
        assert!((cycle.at(11.0) - 0.05).abs() < 1e-12);
        assert!((cycle.at(22.0) - 0.1).abs() < 1e-12);
        assert!((cycle.at(66.0) - 0.05).abs() < 1e-12);
        assert!(cycle.at(110.0).abs() < 1e-12);
    }

    #[test]
    fn cosine_only_falls_and_cyclic_falls_along_a_line() {
        let (cosine, cyclic) = (schedule(ScheduleKind::Cosine), schedule(ScheduleKind::Cyclic));
        for (epochs, falling, line) in [
            (0.0, 0.1, 0.0),
            (11.0, 0.097_552_8, 0.05),
            (66.0, 0.034_549_2, 0.05),
            (110.0, 0.0, 0.0),
        ] {
            assert!((cosine.at(epochs) - falling).abs() < 1e-6, "{epochs}");
            assert!((cyclic.at(epochs) - line).abs() < 1e-12, "{epochs}");
        }
    }
}
