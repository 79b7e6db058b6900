//! The interpolation between two checkpoints, point by point, and the choice among them.

use serde::{Deserialize, Serialize};

use super::{Accuracy, Lineage};
use crate::threat::AttackSpec;

/// The exact McNemar test between two verdicts on the same images.
///
/// # References
/// McNemar 1947, Psychometrika 12, 153–157; the exact form is the two-sided binomial test on the
/// images on which the two disagree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairedTest {
    /// Images that only the first classified correctly.
    pub lost: usize,
    /// Images that only the second classified correctly.
    pub gained: usize,
    /// The probability of a difference at least as large if neither were better.
    pub p_value: f64,
}

impl PairedTest {
    /// Compares verdicts on the same images, in the same order.
    ///
    /// ```
    /// use rift_models::artifact::PairedTest;
    /// let test = PairedTest::new(&[true, true, false, false], &[true, false, true, true]);
    /// assert_eq!((test.lost, test.gained), (1, 2));
    /// assert_eq!(test.p_value, 1.0);
    /// ```
    pub fn new(before: &[bool], after: &[bool]) -> Self {
        let count = |pair| before.iter().zip(after).filter(|(b, a)| (**b, **a) == pair).count();
        let [lost, gained] = [(true, false), (false, true)].map(count);
        Self { lost, gained, p_value: two_sided_binomial(lost.min(gained), lost + gained) }
    }
}

/// `P(|X − n/2| ≥ |k − n/2|)` for `X ~ Binomial(n, 1/2)` and `k ≤ n/2`.
fn two_sided_binomial(k: usize, n: usize) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for i in 0..k {
        log_term += ((n - i) as f64 / (i + 1) as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// One point of the interpolation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepPoint {
    /// The share of the fine-tuned weights: `θ = (1 − α) θ_AT + α θ_FT`.
    pub alpha: f64,
    /// Accuracy on the unperturbed images.
    pub clean: Accuracy,
    /// Accuracy under the threat model.
    pub robust: Accuracy,
    /// The clean verdicts against those at `α = 0`.
    pub clean_test: PairedTest,
    /// The robust verdicts against those at `α = 0`.
    pub robust_test: PairedTest,
}

/// The whole interpolation and the choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepReport {
    /// The modules that were fine-tuned.
    pub modules: Vec<String>,
    /// The split on which the choice was made; never the test split.
    pub split: String,
    /// The threat model.
    pub threat: AttackSpec,
    /// How far the robust accuracy may fall below that at `α = 0`, a fraction (default 0.001).
    pub tolerance: f64,
    /// The seed.
    pub seed: u64,
    /// The points by rising α; the first is `α = 0`.
    pub points: Vec<SweepPoint>,
    /// The chosen α.
    pub chosen: f64,
    /// Where the report comes from.
    pub lineage: Lineage,
}

/// The α of the best clean accuracy among the points whose robust accuracy is not below that of the
/// first point by more than `tolerance`; the smaller α where two are equal.
///
/// # References
/// Robust Critical Fine-Tuning, arXiv 2308.02533, section 3.3.
pub fn choose(points: &[SweepPoint], tolerance: f64) -> Option<&SweepPoint> {
    let start = points.first()?;
    // One part in 10⁹ keeps a fall of exactly the tolerance inside, whatever the rounding.
    let floor = start.robust.fraction - tolerance - 1e-9;
    points
        .iter()
        .filter(|p| p.robust.fraction >= floor)
        .reduce(|best, point| if point.clean.fraction > best.clean.fraction { point } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(alpha: f64, clean: usize, robust: usize) -> SweepPoint {
        let same = PairedTest::new(&[], &[]);
        let [clean, robust] = [clean, robust].map(|k| Accuracy::new(k, 1000));
        SweepPoint { alpha, clean, robust, clean_test: same, robust_test: same }
    }

    #[test]
    fn chooses_the_best_clean_accuracy_that_keeps_robustness() {
        let points = [
            point(0.0, 600, 400),
            point(0.3, 605, 399),
            point(0.6, 605, 400),
            point(1.0, 640, 398),
        ];
        assert_eq!(choose(&points, 0.001).unwrap().alpha, 0.3);
        assert_eq!(choose(&points, 0.0).unwrap().alpha, 0.6);
        assert_eq!(choose(&points, 0.002).unwrap().alpha, 1.0);
        assert!(choose(&[], 0.1).is_none());
    }

    #[test]
    fn the_paired_test_is_the_exact_binomial() {
        // 1 of 10 discordant pairs: 2 · (1 + 10) / 1024.
        assert!((two_sided_binomial(1, 10) - 22.0 / 1024.0).abs() < 1e-12);
        assert_eq!(two_sided_binomial(5, 10), 1.0);
        assert!(two_sided_binomial(0, 5000) < 1e-300);
        assert!((two_sided_binomial(2450, 5000) - 0.162).abs() < 1e-3);
    }
}
