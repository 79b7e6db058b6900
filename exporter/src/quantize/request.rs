//! What is asked for.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rift_models::artifact::WeightFormat;
use rift_models::threat::AttackSpec;

use super::range::Method;
use super::rewrite::Style;

/// Which layers stay in float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepFloat {
    /// Those of these names.
    Named(BTreeSet<String>),
    /// Those that a search finds, beside those that a policy keeps.
    Auto,
}

/// What to quantise, how, and what loss is accepted.
#[derive(Clone, Debug)]
pub struct Request {
    /// The bundle of the float model.
    pub bundle: PathBuf,
    /// The images.
    pub data: PathBuf,
    /// How ranges are chosen.
    pub method: Method,
    /// Training images by which they are.
    pub calibration_images: usize,
    /// Validation images that are measured on.
    pub images: usize,
    /// How weights are stored.
    pub weights: WeightFormat,
    /// How numbers become integers.
    pub style: Style,
    /// Whether the first layer stays in float.
    pub first_float: bool,
    /// Whether the last layer stays in float.
    pub last_float: bool,
    /// Which others do.
    pub keep_float: KeepFloat,
    /// Whether the last bias makes up for the mean error of the logits.
    pub bias_correction: bool,
    /// The attack.
    pub attack: AttackSpec,
    /// The largest loss of clean or robust accuracy that is accepted, in percentage points.
    pub max_drop: f64,
}
