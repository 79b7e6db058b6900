//! Module robust criticality: a row a module.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Lineage;
use crate::threat::AttackSpec;

/// How the weights of a module go up the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ascent {
    /// Steps of a fixed share of the ball's radius along the gradient over all images, back into the
    /// ball after each: no learning rate to tune.
    #[default]
    Normalized,
    /// As the reference implementation: an epoch of stochastic gradient steps with rate 1, then back
    /// into the ball.
    Reference,
}

impl fmt::Display for Ascent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normalized => "normalized",
            Self::Reference => "reference",
        })
    }
}

impl FromStr for Ascent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Normalized, Self::Reference]
            .into_iter()
            .find(|ascent| ascent.to_string() == text)
            .ok_or_else(|| format!("expected `normalized` or `reference`, found `{text}`"))
    }
}

/// The criticality of one module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MrcRow {
    /// The module's name, `layer2.1.conv2`.
    pub module: String,
    /// The number of its weights.
    pub weights: usize,
    /// The largest rise of the mean loss on the adversarial images that a perturbation of the
    /// module's weights within the ball was found to cause.
    pub mrc: f64,
    /// The fall of the robust accuracy at that perturbation, a fraction.
    pub robust_accuracy_drop: f64,
    /// The ascent step, from 1, at which the rise was largest; 0 if no step raised the loss.
    pub step: usize,
    /// Steps whose loss or gradient was not finite: they count for nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rejected: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it skips by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The module robust criticality of a whole network.
///
/// # References
/// Robust Critical Fine-Tuning, arXiv 2308.02533, definition 3.1 and algorithm 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MrcReport {
    /// The split the images came from.
    pub split: String,
    /// Images.
    pub n: usize,
    /// The threat model of the adversarial images.
    pub threat: AttackSpec,
    /// Radius of the weight ball relative to the weights' Frobenius norm (the paper's ε, 0.1).
    pub radius: f64,
    /// Ascent steps.
    pub steps: usize,
    /// How the weights go up.
    #[serde(default)]
    pub ascent: Ascent,
    /// Whether the adversarial images were made anew for every perturbation, as the paper's
    /// definition has it, or stay those of the network as it is, as in its algorithm.
    #[serde(default)]
    pub joint: bool,
    /// The seed.
    pub seed: u64,
    /// The mean loss on the adversarial images before any perturbation.
    pub loss: f64,
    /// The accuracy on the adversarial images before any perturbation, a fraction.
    pub robust_accuracy: f64,
    /// The rank correlation between the two halves of the images, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves: Option<f64>,
    /// A row for each module, the least critical first.
    pub rows: Vec<MrcRow>,
    /// Where the report comes from.
    pub lineage: Lineage,
}

impl MrcReport {
    /// Sorts the rows: the least critical first, names as tie breaker.
    pub fn sort(&mut self) {
        self.rows.sort_by(|a, b| a.mrc.total_cmp(&b.mrc).then_with(|| a.module.cmp(&b.module)));
    }

    /// The least critical module.
    pub fn least_critical(&self) -> Option<&MrcRow> {
        self.least(1).first().copied()
    }

    /// The `k` least critical modules, the least first.
    pub fn least(&self, k: usize) -> Vec<&MrcRow> {
        let mut rows: Vec<&MrcRow> = self.rows.iter().collect();
        rows.sort_by(|a, b| a.mrc.total_cmp(&b.mrc).then_with(|| a.module.cmp(&b.module)));
        rows.truncate(k);
        rows
    }

    /// The `k` most critical modules, the most first.
    pub fn most(&self, k: usize) -> Vec<&MrcRow> {
        let mut rows = self.least(self.rows.len());
        rows.reverse();
        rows.truncate(k);
        rows
    }
}

/// Spearman's rank correlation of two lists of values for the same things; equal values share their
/// rank. There is none for less than two things, or where all values of a list are equal.
///
/// ```
/// use rift_models::artifact::rank_correlation;
/// assert_eq!(rank_correlation(&[1.0, 2.0, 5.0], &[0.1, 0.2, 0.3]), Some(1.0));
/// assert_eq!(rank_correlation(&[1.0, 2.0, 5.0], &[3.0, 2.0, 1.0]), Some(-1.0));
/// assert_eq!(rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
/// ```
///
/// # References
/// Spearman 1904, American Journal of Psychology 15, 72–101.
pub fn rank_correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len().min(b.len());
    let middle = f64::midpoint(n as f64, 1.0);
    let [a, b] = [a, b].map(|values| ranks(&values[..n]));
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let scale = (product(&a, &a) * product(&b, &b)).sqrt();
    (scale > 0.0).then(|| product(&a, &b) / scale)
}

/// The rank of each value, from 1; the mean rank where values are equal.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + f64::midpoint(equal as f64, 1.0)
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        // By hand: ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
        let found = rank_correlation(&[0.0, 1.0, 1.0, 2.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((found - 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-12, "{found}");
        assert_eq!(rank_correlation(&[], &[]), None);
        assert_eq!(rank_correlation(&[1.0], &[1.0]), None);
    }

    #[test]
    fn least_and_most_are_the_two_ends() {
        let row = |module: &str, mrc| MrcRow {
            module: module.to_owned(),
            weights: 1,
            mrc,
            robust_accuracy_drop: 0.0,
            step: 1,
            rejected: 0,
        };
        let mut report = MrcReport {
            split: "train".to_owned(),
            n: 1,
            threat: AttackSpec::paper(),
            radius: 0.1,
            steps: 1,
            ascent: Ascent::Normalized,
            joint: false,
            seed: 0,
            loss: 0.0,
            robust_accuracy: 0.0,
            halves: None,
            rows: vec![row("b", 0.2), row("c", 0.1), row("a", 0.2)],
            lineage: Lineage::default(),
        };
        let names = |rows: Vec<&MrcRow>| -> Vec<String> {
            rows.into_iter().map(|row| row.module.clone()).collect()
        };
        assert_eq!(names(report.least(2)), ["c", "a"]);
        assert_eq!(names(report.most(2)), ["b", "a"]);
        assert_eq!(names(report.most(9)).len(), 3);
        report.sort();
        assert_eq!(report.least_critical().unwrap().module, "c");
    }

    #[test]
    fn an_older_report_is_the_normalized_ascent_on_fixed_images() {
        let row = r#"{"module":"a","weights":1,"mrc":0.1,"robust_accuracy_drop":0.0,"step":1}"#;
        let row: MrcRow = serde_json::from_str(row).unwrap();
        assert_eq!(row.rejected, 0);
        assert!(!serde_json::to_string(&row).unwrap().contains("rejected"));
        assert_eq!("reference".parse::<Ascent>().unwrap(), Ascent::Reference);
        assert!("steepest".parse::<Ascent>().unwrap_err().contains("found `steepest`"));
    }
}
