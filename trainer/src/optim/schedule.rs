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
}

/// A schedule's name that is not known.
#[derive(Debug, thiserror::Error)]
#[error("unknown schedule `{0}`, expected `steps` or `one-cycle`")]
pub struct ScheduleError(String);

impl FromStr for ScheduleKind {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "steps" => Ok(Self::Steps),
            "one-cycle" => Ok(Self::OneCycle),
            _ => Err(ScheduleError(text.to_owned())),
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "steps",
            Self::OneCycle => "one-cycle",
        })
    }
}

/// The learning rate as a function of the epochs done.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The shape.
    pub kind: ScheduleKind,
    /// The first rate of [`ScheduleKind::Steps`], the peak of [`ScheduleKind::OneCycle`].
    pub rate: f64,
    /// Epochs in all.
    pub epochs: usize,
    /// The epochs after which the rate falls; [`ScheduleKind::Steps`] only.
    pub milestones: Vec<usize>,
    /// The factor at each milestone.
    pub decay: f64,
    /// The part of the training in which the rate rises; [`ScheduleKind::OneCycle`] only.
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
            ScheduleKind::OneCycle => {
                let done = epochs / self.epochs.max(1) as f64;
                if done < self.warmup {
                    self.rate * done / self.warmup
                } else {
                    let falling = ((done - self.warmup) / (1.0 - self.warmup)).min(1.0);
                    self.rate * 0.5 * (1.0 + (PI * falling).cos())
                }
            }
        }
    }
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
}
