//! The result of an audit: every image, every attack, and what it was run with.

use serde::{Deserialize, Serialize};

use super::{Accuracy, Certificate, CorruptionReport, Digest, Interval, Reading};
use crate::threat::{Epsilon, Norm};

/// The result of one attack, run over the images that were still robust before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackResult {
    /// The attack: `pgd`, `apgd-ce` …
    pub name: String,
    /// The radius that it was run with, where the audit has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<Epsilon>,
    /// Its settings.
    pub settings: serde_json::Value,
    /// Images that were still robust before it.
    #[serde(default)]
    pub attacked: usize,
    /// Those that it broke.
    #[serde(default)]
    pub broken: usize,
    /// Those that it did not get to the end with before the time was up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreached: usize,
    /// The accuracy over all images after it.
    pub robust: Accuracy,
    /// Wall-clock seconds, over all runs where the audit was stopped and went on; absent where the
    /// report is to hold nothing that a clock said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Gradients taken, counted by image.
    pub gradients: usize,
    /// Forward passes beside those of the gradients, counted by image.
    pub forwards: usize,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleResult {
    /// Its index in the data set's split.
    pub index: usize,
    /// The true class.
    pub label: usize,
    /// The class predicted for the image as it is.
    pub clean_prediction: usize,
    /// The class predicted for the adversarial image; the clean prediction where no attack broke
    /// it or none was needed.
    pub adversarial_prediction: usize,
    /// The norm of the perturbation that broke it, in pixel units; 0 where none did or none was
    /// needed.
    pub distance: f32,
    /// The attack that broke it; `clean` where it was misclassified to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_by: Option<String>,
    /// The radius at which it broke, where the audit has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<Epsilon>,
    /// Whether the first gradient at this image was 0 or not finite.
    #[serde(default, skip_serializing_if = "is_false")]
    pub blind: bool,
    /// The classes that the model whose gradients were followed gives the image as it is and as the
    /// attacks left it, where that is another than the model attacked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<[usize; 2]>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The model whose gradients an attack on another followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwinResult {
    /// The path as given.
    pub path: String,
    /// The digest of its ONNX file.
    pub digest: Digest,
    /// Its accuracy on the images as they are.
    pub clean: Accuracy,
    /// Its accuracy on the images as the attacks on the served model left them: broken where that
    /// was, the last attempt where not.
    pub adversarial: Accuracy,
}

/// What an audit was asked to do: enough to do it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest {
    /// The data's path as given.
    pub data: String,
    /// The first images of the split that were used, where not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The radii, rising.
    pub eps: Vec<Epsilon>,
    /// The attacks with their settings, in order.
    pub attacks: serde_json::Value,
    /// Whether a broken image leaves at once.
    pub early_stop: bool,
    /// How the model was read where its file does not say.
    #[serde(default, skip_serializing_if = "Reading::is_empty")]
    pub reading: Reading,
    /// The path of the model whose gradients were followed, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradients_from: Option<String>,
    /// How the smoothed classifier was certified, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<serde_json::Value>,
}

/// Accuracy at one radius.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// The radius.
    pub eps: Epsilon,
    /// The accuracy in the worst case over the attacks.
    pub robust: Accuracy,
}

/// A part of an audit that is made in several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which part, from 1.
    pub number: usize,
    /// Parts.
    pub of: usize,
    /// Images of all parts.
    pub total: usize,
}

/// The model that was attacked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelIdentity {
    /// The path as given.
    pub path: String,
    /// The digest of the ONNX file.
    pub digest: Digest,
    /// The digest of the data set's split as read.
    pub data: Digest,
    /// The digest of the checkpoint, where the model is a bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Digest>,
}

/// What the audit was run with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeIdentity {
    /// Program and version: `rift-runtime 0.1.0`.
    pub program: String,
    /// The version of ONNX Runtime.
    pub onnxruntime: String,
    /// The execution provider.
    pub provider: String,
    /// The file of ONNX Runtime's library, where the provider is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// The precision of the gradients, where it is not float32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steering: Option<String>,
    /// The instruction set extensions of this machine that matter to speed.
    pub instruction_set: Vec<String>,
    /// The seed of every draw.
    pub seed: u64,
}

/// What the adversary may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threat {
    /// The norm of the perturbation.
    pub norm: Norm,
    /// Its largest norm, in pixel units, as written.
    pub eps: Epsilon,
}

/// The `audit.json` of an audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditReport {
    /// The version of the format.
    pub format: u32,
    /// Accuracy on the images as they are, a fraction.
    pub clean_accuracy: f64,
    /// Accuracy in the worst case over the attacks, a fraction.
    pub robust_accuracy: f64,
    /// Images.
    pub n: usize,
    /// The split they came from.
    pub split: String,
    /// The 95 % interval of the robust accuracy.
    pub interval: Interval,
    /// The 95 % interval of the clean accuracy.
    pub clean_interval: Interval,
    /// The threat model.
    pub threat: Threat,
    /// The accuracy at every radius, where the audit has several; `threat` has the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<CurvePoint>,
    /// The attacks in the order in which they were run.
    pub attacks: Vec<AttackResult>,
    /// Every image, in the order of the data.
    pub samples: Vec<SampleResult>,
    /// The model.
    pub model: ModelIdentity,
    /// The model whose gradients were followed, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<TwinResult>,
    /// The runtime.
    pub runtime: RuntimeIdentity,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<AuditRequest>,
    /// Which part of an audit this is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// What is proven of the model's smoothed form, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified: Option<Certificate>,
    /// Accuracy under the common corruptions, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corruptions: Option<CorruptionReport>,
    /// What stands in the way of taking the figures at face value, each as `name: sentence`.
    pub warnings: Vec<String>,
}

impl AuditReport {
    /// The version of the format that this code reads and writes.
    pub const FORMAT: u32 = 1;

    /// Images that the time did not suffice for: until they are attacked, the robust accuracy is no
    /// more than an upper bound.
    ///
    /// What one attack did not get to, none that follows did: the largest count has them all.
    pub fn unreached(&self) -> usize {
        self.attacks.iter().map(|attack| attack.unreached).max().unwrap_or(0)
    }
}
