//! What a card says of a model whose numbers were made smaller.

use serde::{Deserialize, Serialize};

use super::{Accuracy, Digest};
use crate::threat::AttackSpec;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// Signed bytes, with a scale for each output channel and no zero point.
    Int8,
    /// Half precision; computed with in float32.
    Fp16,
}

/// The bytes that stand for activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationFormat {
    /// 0 to 255.
    U8,
    /// -128 to 127.
    S8,
}

/// How the ranges of activations were found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// `minmax`, `percentile 99.99`, `entropy` or `mse`.
    pub method: String,
    /// The images' split.
    pub split: String,
    /// Images.
    pub n: usize,
    /// The digest of the images.
    pub data: Digest,
}

/// One accuracy of a model and of its float twin on the same images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The float twin's.
    pub float: Accuracy,
    /// The model's own.
    pub quantized: Accuracy,
}

impl Pair {
    /// What was lost, in percentage points; negative where something was won.
    pub fn drop(&self) -> f64 {
        self.float.percent() - self.quantized.percent()
    }
}

/// What a quantised model is made of, and what was measured of it before it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantization {
    /// How weights are stored.
    pub weights: WeightFormat,
    /// The bytes that stand for activations; absent where they stay float32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<ActivationFormat>,
    /// How their ranges were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The layers that were kept in float32.
    pub float_layers: Vec<String>,
    /// The digest of the float model that it was made from.
    pub twin: Digest,
    /// The float model's size in bytes.
    pub twin_bytes: u64,
    /// The model's size in bytes.
    pub bytes: u64,
    /// The split that was measured on.
    pub split: String,
    /// The digest of the images that were measured on.
    pub data: Digest,
    /// The attack: along the twin's gradients, judged by the model itself.
    pub attack: AttackSpec,
    /// Accuracy on images as they are.
    pub clean: Pair,
    /// Accuracy under the attack.
    pub robust: Pair,
    /// The largest loss of either that was accepted, in percentage points.
    pub max_drop: f64,
}
