//! Confidence intervals of accuracies.

use serde::{Deserialize, Serialize};

/// The 95 % score interval of a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
}

/// The 97.5 % quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

impl Interval {
    /// Wilson's score interval of `successes` among `n` at 95 %; `[0, 1]` for `n = 0`.
    ///
    /// # References
    /// Wilson 1927, Journal of the American Statistical Association 22, 209–212.
    ///
    /// ```
    /// use rift_models::artifact::Interval;
    /// let interval = Interval::wilson(40, 100);
    /// assert!((interval.lower - 0.3094).abs() < 1e-4 && (interval.upper - 0.4980).abs() < 1e-4);
    /// ```
    pub fn wilson(successes: usize, n: usize) -> Self {
        if n == 0 {
            return Self { lower: 0.0, upper: 1.0 };
        }
        let n = n as f64;
        let p = successes as f64 / n;
        let centre = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Self {
            lower: ((centre - half) / scale).max(0.0),
            upper: ((centre + half) / scale).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_zero_and_one() {
        for (k, n) in [(0, 10), (10, 10), (0, 0), (5, 10)] {
            let i = Interval::wilson(k, n);
            assert!(0.0 <= i.lower && i.lower < i.upper && i.upper <= 1.0, "{k}/{n}: {i:?}");
        }
        assert_eq!(Interval::wilson(0, 10).lower, 0.0);
        assert!((Interval::wilson(10, 10).lower - 0.7225).abs() < 1e-4);
    }
}
