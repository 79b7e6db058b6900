//! Module robust criticality: a row a module.

use serde::{Deserialize, Serialize};

use super::Lineage;
use crate::threat::AttackSpec;

/// The criticality of one module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MrcRow {
    /// The module's name, `layer2.1.conv2`.
    pub module: String,
    /// The number of its weights.
    pub weights: usize,
    /// The largest rise of the mean loss on the fixed adversarial images that a perturbation of
    /// the module's weights within the ball was found to cause.
    pub mrc: f64,
    /// The fall of the robust accuracy at that perturbation, a fraction.
    pub robust_accuracy_drop: f64,
    /// The ascent step, from 1, at which the rise was largest; 0 if no step raised the loss.
    pub step: usize,
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
    /// The threat model of the adversarial images, which stay fixed.
    pub threat: AttackSpec,
    /// Radius of the weight ball relative to the weights' Frobenius norm (the paper's ε, 0.1).
    pub radius: f64,
    /// Ascent steps.
    pub steps: usize,
    /// The seed.
    pub seed: u64,
    /// The mean loss on the adversarial images before any perturbation.
    pub loss: f64,
    /// The accuracy on the adversarial images before any perturbation, a fraction.
    pub robust_accuracy: f64,
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
        self.rows.iter().min_by(|a, b| a.mrc.total_cmp(&b.mrc))
    }
}
