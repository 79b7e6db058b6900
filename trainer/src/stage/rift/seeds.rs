//! Several seeds of the same.

use rift_models::artifact::Lineage;
use serde::{Deserialize, Serialize};

use super::RiftReport;

/// Mean and spread of a figure over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, of `n − 1`; 0 for one seed.
    pub deviation: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

impl Spread {
    /// The spread of at least one value.
    ///
    /// ```
    /// use rift_trainer::stage::rift::Spread;
    /// let spread = Spread::of(&[1.0, 2.0, 3.0]);
    /// assert_eq!((spread.mean, spread.deviation, spread.lowest, spread.highest), (2.0, 1.0, 1.0, 3.0));
    /// ```
    pub fn of(values: &[f64]) -> Self {
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self {
            mean,
            deviation: (squares / (n - 1.0).max(1.0)).sqrt(),
            lowest: values.iter().copied().fold(f64::INFINITY, f64::min),
            highest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mean, deviation, lowest, highest } = self;
        write!(f, "{mean:+.2} ± {deviation:.2} ({lowest:+.2} to {highest:+.2})")
    }
}

/// What `seeds.json` holds: the same with several seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedsReport {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The change of clean accuracy, in points.
    pub clean_change: Spread,
    /// The change of robust accuracy, in points.
    pub robust_change: Spread,
    /// The change of accuracy under corruptions, in points, where every run has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupted_change: Option<Spread>,
    /// The report of each seed.
    pub runs: Vec<RiftReport>,
    /// Where the report comes from.
    pub lineage: Lineage,
}

impl SeedsReport {
    /// Sums up at least one run.
    pub fn of(runs: Vec<RiftReport>, lineage: Lineage) -> Self {
        let points: Vec<[f64; 2]> = runs.iter().map(|run| run.result.points()).collect();
        let [clean, robust] = [0, 1].map(|which| {
            let values: Vec<f64> = points.iter().map(|points| points[which]).collect();
            Spread::of(&values)
        });
        let corrupted: Option<Vec<f64>> =
            runs.iter().map(|run| run.result.corrupted_points()).collect();
        Self {
            seeds: runs.iter().map(|run| run.seed).collect(),
            clean_change: clean,
            robust_change: robust,
            corrupted_change: corrupted.map(|values| Spread::of(&values)),
            runs,
            lineage,
        }
    }
}
