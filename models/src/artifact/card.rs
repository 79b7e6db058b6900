//! What a bundle says of its model.

use serde::{Deserialize, Serialize};

use super::{Accuracy, Digest, Lineage, Quantization};
use crate::arch::ArchSpec;
use crate::threat::AttackSpec;

/// A measured accuracy with the circumstances that make it mean something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardMetric {
    /// `clean` or `robust`.
    pub name: String,
    /// The split it was measured on.
    pub split: String,
    /// The attack, for a robust accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackSpec>,
    /// The accuracy.
    pub accuracy: Accuracy,
}

/// How far a model's logits on the probe are from the checkpoint's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parity {
    /// Images of the probe.
    pub n: usize,
    /// The largest absolute difference of a logit.
    pub max_abs_difference: f64,
    /// The largest difference that is accepted.
    pub tolerance: f64,
    /// Images whose predicted class is the same.
    pub same_prediction: usize,
}

impl Parity {
    /// Whether the difference is within the tolerance.
    pub fn holds(&self) -> bool {
        self.max_abs_difference <= self.tolerance
    }
}

/// The form of a model that ONNX Runtime made of it ahead of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimized {
    /// The digest of `optimized.onnx`.
    pub model: Digest,
    /// `portable`, or `this-machine` where only processors with the same instruction set run it.
    pub reach: String,
    /// The version of ONNX Runtime that made it.
    pub onnxruntime: String,
    /// The instruction set of the machine that made it.
    pub instruction_set: Vec<String>,
}

/// The `card.json` of a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The version of the format.
    pub format: u32,
    /// The bundle's name.
    pub name: String,
    /// The network.
    pub arch: ArchSpec,
    /// The names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// The threat model that the network was trained against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<AttackSpec>,
    /// The ONNX operator set.
    pub opset: i64,
    /// The digest of `model.onnx`.
    pub model: Digest,
    /// The digest of `probe.safetensors`.
    pub probe: Digest,
    /// The digest of the checkpoint.
    pub checkpoint: Digest,
    /// The logits against the checkpoint's.
    pub parity: Parity,
    /// Accuracies that were measured, if any.
    #[serde(default)]
    pub metrics: Vec<CardMetric>,
    /// What a quantised model is made of; absent for one in float32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// The optimised form of the model, if there is one in the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimized: Option<Optimized>,
    /// Where the bundle comes from.
    pub lineage: Lineage,
}

impl Card {
    /// The version of the format that this code reads and writes.
    pub const FORMAT: u32 = 1;
}
