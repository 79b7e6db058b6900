//! What RiFT came to, on images by which nothing was chosen.

use rift_models::artifact::{Accuracy, Digest, Lineage, MrcRow, PairedTest};
use rift_models::threat::AttackSpec;
use serde::{Deserialize, Serialize};

use super::{Plan, evaluate};
use crate::data::ImageSet;
use crate::network::{Network, TorchError};
use crate::record::Progress;

/// Clean and robust accuracy of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Accuracy on the images as they are.
    pub clean: Accuracy,
    /// Accuracy under the threat model.
    pub robust: Accuracy,
}

/// Two networks on the same images, under the same attack from the same noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// What `rift.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiftReport {
    /// The module that was fine-tuned.
    pub module: MrcRow,
    /// The share of the fine-tuned weights that was chosen on the validation images.
    pub alpha: f64,
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
    /// The checkpoint that came of it.
    pub checkpoint: Digest,
    /// Where all of this comes from.
    pub lineage: Lineage,
}

/// Judges two networks on the same images.
///
/// # Errors
/// If libtorch fails.
pub fn compare(
    [before, after]: [&Network; 2],
    images: &ImageSet,
    (threat, batch): (&AttackSpec, usize),
    progress: &Progress,
) -> Result<Comparison, TorchError> {
    let plan = Plan { batch, attack: Some(threat), ..Plan::clean() };
    progress.say("before");
    let first = evaluate(before, images, &plan, progress)?;
    progress.say("after");
    let second = evaluate(after, images, &plan, progress)?;
    let [before, after] = [&first, &second].map(|evaluation| Figures {
        clean: evaluation.clean_accuracy(),
        robust: evaluation.robust_accuracy(),
    });
    Ok(Comparison {
        before,
        after,
        clean_test: PairedTest::new(&first.clean, &second.clean),
        robust_test: PairedTest::new(&first.robust, &second.robust),
    })
}
