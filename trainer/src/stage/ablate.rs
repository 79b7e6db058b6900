//! What to fine-tune: the paper's tables 3 and 4, and how much of the gain is batch normalisation.
//!
//! # References
//! Robust Critical Fine-Tuning, arXiv 2308.02533, section 4.4.

use rift_models::arch::Graph;
use rift_models::artifact::{Lineage, MrcReport};
use rift_models::threat::AttackSpec;
use serde::{Deserialize, Serialize};

use super::finetune::{BatchNormPolicy, Scope};
use super::rift::Comparison;

/// A way of fine-tuning that is compared with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name: of its folder, and of its row.
    pub name: String,
    /// What moves.
    pub scope: Scope,
    /// What batch normalisation does.
    pub batch_norm: BatchNormPolicy,
}

/// The names of all variants; a network of few modules has fewer.
pub const NAMES: [&str; 9] = [
    "all",
    "last",
    "most-1",
    "least-1",
    "least-2",
    "least-3",
    "least-5",
    "least-1-frozen",
    "statistics",
];

/// How many of the least critical modules are fine-tuned together, as in the paper's table 4.
const TOP: [usize; 4] = [1, 2, 3, 5];

/// All ways of fine-tuning that the network allows, by the criticality of its modules: the paper's
/// table 3, its table 4, and the ablation of batch normalisation.
pub fn variants(graph: &Graph, criticality: &MrcReport) -> Vec<Variant> {
    let reference = BatchNormPolicy::Reference;
    let modules = |rows: Vec<&rift_models::artifact::MrcRow>| {
        Scope::Modules(rows.into_iter().map(|row| row.module.clone()).collect())
    };
    let named =
        |name: &str, scope, batch_norm| Variant { name: name.to_owned(), scope, batch_norm };
    let mut all = vec![
        named("all", Scope::All, reference),
        named("last", Scope::Last, reference),
        named("most-1", modules(criticality.most(1)), reference),
    ];
    let count = graph.modules().count().min(criticality.rows.len());
    for k in TOP.into_iter().filter(|k| *k <= count) {
        all.push(named(&format!("least-{k}"), modules(criticality.least(k)), reference));
    }
    all.push(named("least-1-frozen", modules(criticality.least(1)), BatchNormPolicy::Frozen));
    all.push(named("statistics", Scope::Statistics, reference));
    all
}

/// What became of one way of fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblateRow {
    /// Its name.
    pub name: String,
    /// The modules whose weights moved.
    pub modules: Vec<String>,
    /// What batch normalisation did.
    pub batch_norm: BatchNormPolicy,
    /// The epoch that was kept, chosen on the validation images.
    pub best_epoch: usize,
    /// The share of the fine-tuned weights that was chosen on the validation images.
    pub alpha: f64,
    /// The start against the fine-tuned weights themselves, α = 1.
    pub tuned: Comparison,
    /// The start against the chosen point.
    pub chosen: Comparison,
}

/// A way of fine-tuning of which nothing came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DivergedRow {
    /// Its name.
    pub name: String,
    /// The modules whose weights moved.
    pub modules: Vec<String>,
    /// What batch normalisation did.
    pub batch_norm: BatchNormPolicy,
    /// The epoch whose loss, or what it left, was no finite number, from 1.
    pub epoch: usize,
}

/// What `ablate.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AblateReport {
    /// The split of the figures.
    pub split: String,
    /// Images.
    pub n: usize,
    /// The threat model of the robust accuracy.
    pub threat: AttackSpec,
    /// The seed.
    pub seed: u64,
    /// Every setting.
    pub settings: serde_json::Value,
    /// A row for each way of fine-tuning that came to its end.
    pub rows: Vec<AblateRow>,
    /// The ways of fine-tuning that diverged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<DivergedRow>,
    /// Where the report comes from.
    pub lineage: Lineage,
}

#[cfg(test)]
mod tests {
    use rift_models::arch::ArchSpec;
    use rift_models::artifact::{Ascent, MrcRow};

    use super::*;

    #[test]
    fn the_tables_of_the_paper_are_all_there() {
        let graph = ArchSpec::new("resnet8", [1, 12, 12], 3).build().unwrap();
        let rows = graph.modules().enumerate().map(|(place, module)| MrcRow {
            module: module.to_owned(),
            weights: 1,
            mrc: (10 - place) as f64,
            robust_accuracy_drop: 0.0,
            step: 1,
            rejected: 0,
        });
        let report = MrcReport {
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
            rows: rows.collect(),
            lineage: Lineage::default(),
        };
        let all = variants(&graph, &report);
        let names: Vec<&str> = all.iter().map(|variant| variant.name.as_str()).collect();
        assert_eq!(names, NAMES);
        let scope = |name: &str| &all.iter().find(|v| v.name == name).unwrap().scope;
        assert_eq!(*scope("most-1"), Scope::Modules(vec!["conv1".to_owned()]));
        assert_eq!(*scope("least-1"), Scope::Modules(vec!["linear".to_owned()]));
        let Scope::Modules(five) = scope("least-5") else { panic!("least-5 is no list") };
        assert_eq!((five.len(), five[0].as_str()), (5, "linear"));
        let few = MrcReport { rows: report.rows[..2].to_vec(), ..report };
        assert!(!variants(&graph, &few).iter().any(|variant| variant.name == "least-3"));
    }
}
