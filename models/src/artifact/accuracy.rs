//! An accuracy with what it was counted from.

use serde::{Deserialize, Serialize};

use super::Interval;

/// How many of how many, with the 95 % score interval.
///
/// ```
/// use rift_models::artifact::Accuracy;
/// let accuracy = Accuracy::new(40, 100);
/// assert_eq!(accuracy.fraction, 0.4);
/// assert_eq!(accuracy.to_string(), "40.00 % (30.94 to 49.80, n 100)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Images that were classified correctly.
    pub correct: usize,
    /// Images that were looked at.
    pub n: usize,
    /// `correct / n`; 0 for `n = 0`.
    pub fraction: f64,
    /// Wilson's 95 % score interval of the fraction.
    pub interval: Interval,
}

impl Accuracy {
    /// The accuracy of `correct` among `n`.
    pub fn new(correct: usize, n: usize) -> Self {
        let fraction = if n == 0 { 0.0 } else { correct as f64 / n as f64 };
        Self { correct, n, fraction, interval: Interval::wilson(correct, n) }
    }

    /// The accuracy of a verdict for each image.
    pub fn of(verdicts: &[bool]) -> Self {
        Self::new(verdicts.iter().filter(|v| **v).count(), verdicts.len())
    }

    /// The fraction in percent.
    pub fn percent(&self) -> f64 {
        self.fraction * 100.0
    }
}

impl std::fmt::Display for Accuracy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [lower, upper] = [self.interval.lower, self.interval.upper].map(|bound| bound * 100.0);
        write!(f, "{:.2} % ({lower:.2} to {upper:.2}, n {})", self.percent(), self.n)
    }
}
