//! How often the state of a training is written.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// The interval between two states within an epoch. It decides what a kill costs, not what a
/// training gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After so many steps.
    Steps(usize),
    /// After so much time.
    Time(Duration),
}

impl Default for Every {
    /// Ten minutes.
    fn default() -> Self {
        Self::Time(Duration::from_mins(10))
    }
}

/// A text that is no interval.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no interval, expected steps (`200`) or a time (`30s`, `10min`, `1h`) above 0")]
pub struct EveryError(String);

impl FromStr for Every {
    type Err = EveryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || EveryError(text.to_owned());
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u32 = number.parse().ok().filter(|n| *n > 0).ok_or_else(error)?;
        let seconds = match unit.trim() {
            "" | "steps" => return Ok(Self::Steps(number as usize)),
            "s" => 1,
            "min" | "m" => 60,
            "h" => 3600,
            _ => return Err(error()),
        };
        Ok(Self::Time(Duration::from_secs(u64::from(number) * seconds)))
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Time(time) => match time.as_secs() {
                seconds if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
                seconds if seconds % 60 == 0 => write!(f, "{}min", seconds / 60),
                seconds => write!(f, "{seconds}s"),
            },
        }
    }
}

/// Counts from one state to the next.
#[derive(Debug)]
pub(super) struct Timer {
    every: Every,
    steps: usize,
    since: Instant,
}

impl Timer {
    pub(super) fn new(every: Every) -> Self {
        Self { every, steps: 0, since: Instant::now() }
    }

    /// A step is done; says whether it is time for a state.
    pub(super) fn step(&mut self) -> bool {
        self.steps += 1;
        match self.every {
            Every::Steps(steps) => self.steps >= steps,
            Every::Time(time) => self.since.elapsed() >= time,
        }
    }

    /// Steps since the last [`reset`](Self::reset).
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The state was written, or could not be: the next one comes after a whole interval.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_steps_and_times_and_nothing_else() {
        let seconds = |n| Every::Time(Duration::from_secs(n));
        for (text, every, shown) in [
            ("200", Every::Steps(200), "200"),
            ("200 steps", Every::Steps(200), "200"),
            ("45s", seconds(45), "45s"),
            ("10min", Every::default(), "10min"),
            ("90 m", seconds(5400), "90min"),
            ("2h", seconds(7200), "2h"),
        ] {
            assert_eq!(text.parse::<Every>().unwrap(), every, "{text}");
            assert_eq!(every.to_string(), shown);
            assert_eq!(shown.parse::<Every>().unwrap(), every);
        }
        for text in ["", "0", "0min", "min", "-5", "1.5h", "3 days", "99999999999"] {
            let error = text.parse::<Every>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn counts_steps() {
        let mut timer = Timer::new(Every::Steps(2));
        let due = [timer.step(), timer.step(), timer.step()];
        assert_eq!(due, [false, true, true]);
        timer.reset();
        assert!(!timer.step());
        assert!(Timer::new(Every::Time(Duration::ZERO)).step());
    }
}
