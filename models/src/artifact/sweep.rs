//! The interpolation between two checkpoints, point by point, and the choice among them.

use serde::{Deserialize, Serialize};

use super::{Accuracy, Interval, Lineage};
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

    /// The probability in words: `p 0.048`, or `p < 0.001`.
    ///
    /// ```
    /// use rift_models::artifact::PairedTest;
    /// let p = |p_value| PairedTest { lost: 0, gained: 0, p_value }.p();
    /// assert_eq!((p(0.0481), p(0.0004)), ("p 0.048".to_owned(), "p < 0.001".to_owned()));
    /// ```
    pub fn p(&self) -> String {
        match self.p_value {
            p if p < 0.001 => "p < 0.001".to_owned(),
            p => format!("p {p:.3}"),
        }
    }

    /// The 95 % interval of the difference of the two accuracies, second minus first, over `n` images:
    /// Wald's with one more image lost and one more gained.
    ///
    /// ```
    /// use rift_models::artifact::PairedTest;
    /// let test = PairedTest { lost: 10, gained: 30, p_value: 0.002 };
    /// let change = test.interval(1000);
    /// assert!((change.lower - 0.0072).abs() < 1e-3 && (change.upper - 0.0327).abs() < 1e-3);
    /// ```
    ///
    /// # References
    /// Bonett & Price 2012, Journal of Educational and Behavioral Statistics 37, 479–488.
    pub fn interval(&self, n: usize) -> Interval {
        const Z: f64 = 1.959_963_984_540_054;
        let total = n as f64 + 2.0;
        let [lost, gained] = [self.lost, self.gained].map(|count| (count as f64 + 1.0) / total);
        let difference = gained - lost;
        let half = Z * ((gained + lost - difference * difference) / total).sqrt();
        Interval { lower: (difference - half).max(-1.0), upper: (difference + half).min(1.0) }
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

impl SweepReport {
    /// The point that was chosen.
    pub fn choice(&self) -> Option<&SweepPoint> {
        self.points.iter().find(|point| point.alpha == self.chosen)
    }

    /// What the choice means, in a sentence.
    pub fn verdict(&self) -> String {
        let (Some(start), Some(choice)) = (self.points.first(), self.choice()) else {
            return "no point was judged".to_owned();
        };
        let change = |from: &Accuracy, to: &Accuracy| (to.fraction - from.fraction) * 100.0;
        if self.chosen == 0.0 {
            let cleaner = self.points.iter().filter(|p| p.clean.fraction > start.clean.fraction);
            return match cleaner.count() {
                0 => "alpha 0: no point classifies more clean images; the robust weights stay"
                    .to_owned(),
                1 => "alpha 0: the one point that classifies more clean images loses robustness; the \
                      robust weights stay"
                    .to_owned(),
                many => format!(
                    "alpha 0: all {many} points that classify more clean images lose robustness; the \
                     robust weights stay"
                ),
            };
        }
        format!(
            "alpha {}: clean {:+.2} points ({}), robust {:+.2} points ({})",
            self.chosen,
            change(&start.clean, &choice.clean),
            choice.clean_test.p(),
            change(&start.robust, &choice.robust),
            choice.robust_test.p()
        )
    }
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

    fn report(points: Vec<SweepPoint>) -> SweepReport {
        let chosen = choose(&points, 0.001).unwrap().alpha;
        SweepReport {
            modules: vec!["conv1".to_owned()],
            split: "validation".to_owned(),
            threat: AttackSpec::paper(),
            tolerance: 0.001,
            seed: 0,
            points,
            chosen,
            lineage: Lineage::default(),
        }
    }

    #[test]
    fn where_every_point_is_worse_the_start_is_chosen_and_that_is_said() {
        let worse = report(vec![point(0.0, 600, 400), point(0.5, 590, 405), point(1.0, 580, 390)]);
        assert_eq!(worse.chosen, 0.0);
        assert!(worse.verdict().contains("no point classifies more clean"), "{}", worse.verdict());
        let dear = report(vec![point(0.0, 600, 400), point(0.5, 610, 390), point(1.0, 620, 380)]);
        assert_eq!(dear.chosen, 0.0);
        assert!(dear.verdict().contains("all 2 points that"), "{}", dear.verdict());
        let one = report(vec![point(0.0, 600, 400), point(0.5, 610, 390)]);
        assert!(one.verdict().contains("the one point that"), "{}", one.verdict());
        let better = report(vec![point(0.0, 600, 400), point(0.5, 610, 401)]);
        assert!(
            better.verdict().starts_with("alpha 0.5: clean +1.00 points (p 1.000), robust +0.10")
        );
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
