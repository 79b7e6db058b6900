//! What RiFT came to, on images by which nothing was chosen.

mod figure;
mod page;
mod seeds;

use rift_models::artifact::{
    Accuracy, CorruptionComparison, Digest, Interval, Lineage, MrcRow, PairedTest, SweepPoint,
};
use rift_models::threat::AttackSpec;
use serde::{Deserialize, Serialize};

use super::{Evaluation, Judged};

pub use figure::{bars, curve};
pub use page::{page, page_of_seeds};
pub use seeds::{SeedsReport, Spread};

/// Clean and robust accuracy of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Accuracy on the images as they are.
    pub clean: Accuracy,
    /// Accuracy under the threat model.
    pub robust: Accuracy,
}

impl Figures {
    /// The figures of an evaluation.
    pub fn of(evaluation: &Evaluation) -> Self {
        Self { clean: evaluation.clean_accuracy(), robust: evaluation.robust_accuracy() }
    }
}

/// Two networks on the same images, under the same attack from the same noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The network before.
    pub before: Figures,
    /// The network after.
    pub after: Figures,
    /// The clean verdicts of the two.
    pub clean_test: PairedTest,
    /// The robust verdicts of the two.
    pub robust_test: PairedTest,
    /// The paired 95 % interval of the change of the clean accuracy, a fraction.
    pub clean_change: Interval,
    /// The paired 95 % interval of the change of the robust accuracy, a fraction.
    pub robust_change: Interval,
    /// The two out of distribution, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corruptions: Option<CorruptionComparison>,
}

impl Comparison {
    /// Holds the second network's verdicts against the first's, image by image.
    pub fn of([first, second]: [&Judged; 2]) -> Self {
        let [before, after] = [&first.evaluation, &second.evaluation];
        let corrupted = first.corrupted.as_ref().zip(second.corrupted.as_ref());
        let n = before.clean.len();
        let clean_test = PairedTest::new(&before.clean, &after.clean);
        let robust_test = PairedTest::new(&before.robust, &after.robust);
        Self {
            before: Figures::of(before),
            after: Figures::of(after),
            clean_test,
            robust_test,
            clean_change: clean_test.interval(n),
            robust_change: robust_test.interval(n),
            corruptions: corrupted.map(|(a, b)| CorruptionComparison::of([a, b])),
        }
    }

    /// The change of clean and robust accuracy, in points.
    pub fn points(&self) -> [f64; 2] {
        let (before, after) = (&self.before, &self.after);
        [[&before.clean, &after.clean], [&before.robust, &after.robust]]
            .map(|[before, after]| after.percent() - before.percent())
    }

    /// The change of the accuracy under corruptions, in points.
    pub fn corrupted_points(&self) -> Option<f64> {
        Some(self.corruptions.as_ref()?.first()?.1.change * 100.0)
    }
}

/// One way of fine-tuning, judged by the point that was chosen on its way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The learning rate of the first half of the epochs.
    pub lr: f64,
    /// Passes over the images.
    pub epochs: usize,
    /// The epoch that was kept.
    pub best_epoch: usize,
    /// The chosen share of the fine-tuned weights.
    pub alpha: f64,
    /// Clean accuracy there, on the validation images.
    pub clean: Accuracy,
    /// Robust accuracy there, on the validation images.
    pub robust: Accuracy,
    /// Whether it was chosen.
    pub chosen: bool,
}

/// A way of fine-tuning of which nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diverged {
    /// The learning rate of the first half of the epochs.
    pub lr: f64,
    /// Passes over the images.
    pub epochs: usize,
    /// The epoch whose loss, or what it left, was no finite number, from 1.
    pub epoch: usize,
}

/// The candidate of the best clean accuracy at its chosen point; the more robust one of equals, then
/// the first.
pub fn choose(candidates: &[Candidate]) -> Option<usize> {
    let key = |place: usize| (candidates[place].clean.correct, candidates[place].robust.correct);
    (0..candidates.len()).reduce(|best, place| if key(place) > key(best) { place } else { best })
}

/// What `rift.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiftReport {
    /// The module that was fine-tuned, the least critical one of several.
    pub module: MrcRow,
    /// All modules that were fine-tuned.
    pub tuned: Vec<String>,
    /// The criticality of all modules, in network order.
    pub modules: Vec<MrcRow>,
    /// The share of the fine-tuned weights that was chosen on the validation images.
    pub alpha: f64,
    /// What the choice means, in a sentence.
    pub verdict: String,
    /// The way from the robust to the fine-tuned weights, on the validation images.
    pub points: Vec<SweepPoint>,
    /// How far the robust accuracy could fall in the choice, a fraction.
    pub tolerance: f64,
    /// The ways of fine-tuning among which one was chosen; one where nothing was searched.
    pub candidates: Vec<Candidate>,
    /// The ways of fine-tuning that diverged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Diverged>,
    /// The split of the figures.
    pub split: String,
    /// Images.
    pub n: usize,
    /// The threat model of the robust accuracy.
    pub threat: AttackSpec,
    /// The seed.
    pub seed: u64,
    /// The figures before and after.
    pub result: Comparison,
    /// Every setting of the three stages.
    pub settings: serde_json::Value,
    /// The checkpoint that came of it.
    pub checkpoint: Digest,
    /// Where all of this comes from.
    pub lineage: Lineage,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(clean: usize, robust: usize) -> Candidate {
        let [clean, robust] = [clean, robust].map(|correct| Accuracy::new(correct, 100));
        let (lr, epochs, best_epoch, alpha) = (1e-3, 10, 4, 0.5);
        Candidate { lr, epochs, best_epoch, alpha, clean, robust, chosen: false }
    }

    #[test]
    fn the_best_candidate_is_the_cleanest_then_the_most_robust_then_the_first() {
        let judge = |list: &[(usize, usize)]| {
            choose(&list.iter().map(|(c, r)| candidate(*c, *r)).collect::<Vec<_>>())
        };
        assert_eq!(judge(&[(50, 30), (52, 29), (51, 33)]), Some(1));
        assert_eq!(judge(&[(50, 30), (50, 31), (50, 31)]), Some(1));
        assert_eq!(judge(&[]), None);
    }
}
