//! The settings of `quantize`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use rift_models::artifact::{ActivationFormat, WeightFormat};
use rift_models::threat::{Epsilon, Norm};

/// The share in percent of the numbers that are kept unless the user says otherwise.
pub const PERCENTILE: f64 = 99.99;
/// Images to calibrate by unless the user says otherwise.
pub const CALIBRATION_IMAGES: usize = 512;

/// Settings of `quantize`.
#[derive(Debug, Args)]
pub struct Quantize {
    /// The float model's bundle.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// The images: training images calibrate, validation images are measured on.
    #[arg(long, value_name = "PATH", env = "RIFT_DATA")]
    pub data: PathBuf,
    /// The quantised model's bundle; an older bundle there is replaced, if it holds nothing else.
    #[arg(long, value_name = "FOLDER", env = "RIFT_OUT")]
    pub out: PathBuf,
    /// The bundle's name [default: the folder's].
    #[arg(long, env = "RIFT_NAME", value_parser = super::name)]
    pub name: Option<String>,
    /// How weights are stored.
    #[arg(long, value_enum, env = "RIFT_WEIGHTS", default_value = "int8")]
    pub weights: Weights,
    /// The bytes that stand for activations [default: u8].
    #[arg(long, value_enum, env = "RIFT_ACTIVATIONS")]
    pub activations: Option<Activations>,
    /// How the range of each activation is chosen [default: minmax].
    #[arg(long, value_enum, env = "RIFT_CALIBRATION")]
    pub calibration: Option<Calibration>,
    /// The share in percent of the numbers that `--calibration percentile` keeps [default: 99.99].
    #[arg(long, value_name = "PERCENT", env = "RIFT_PERCENTILE", value_parser = percentile)]
    pub percentile: Option<f64>,
    /// Training images to calibrate by [default: 512].
    #[arg(long, value_name = "N", env = "RIFT_CALIBRATION_IMAGES", value_parser = at_least_one)]
    pub calibration_images: Option<usize>,
    /// Validation images to measure on.
    #[arg(long, value_name = "N", env = "RIFT_IMAGES", default_value_t = 500,
          value_parser = at_least_one)]
    pub images: usize,
    /// Weights of 7 bits, for processors that would overflow with 8 (x86 without VNNI).
    #[arg(long, env = "RIFT_REDUCE_RANGE", value_parser = clap::builder::FalseyValueParser::new())]
    pub reduce_range: bool,
    /// What the first layer computes on.
    #[arg(long, value_enum, env = "RIFT_FIRST_LAYER", default_value = "int8")]
    pub first_layer: Placement,
    /// What the last layer computes on.
    #[arg(long, value_enum, env = "RIFT_LAST_LAYER", default_value = "int8")]
    pub last_layer: Placement,
    /// Layers that stay in float: names separated by commas, or `auto` to search for those with
    /// which the most accuracy is won a byte.
    #[arg(long, value_name = "NAMES", env = "RIFT_KEEP_FLOAT")]
    pub keep_float: Option<Keep>,
    /// Take the mean error of the logits on the calibration images off the last layer's bias [default:
    /// true].
    #[arg(long, value_name = "BOOL", env = "RIFT_BIAS_CORRECTION")]
    pub bias_correction: Option<bool>,
    /// The largest loss of clean or robust accuracy that is accepted, in percentage points.
    #[arg(long, value_name = "POINTS", env = "RIFT_MAX_DROP", default_value_t = 1.0,
          value_parser = points)]
    pub max_drop: f64,
    /// The norm of the perturbation, linf or l2 [default: the bundle's, else linf].
    #[arg(long, value_name = "NORM", env = "RIFT_NORM")]
    pub norm: Option<Norm>,
    /// Its largest norm in pixel units [default: the bundle's, else 8/255].
    #[arg(long, value_name = "LENGTH", env = "RIFT_EPS")]
    pub eps: Option<Epsilon>,
    /// The length of one step in pixel units [default: the bundle's, else 2/255].
    #[arg(long, value_name = "LENGTH", env = "RIFT_STEP")]
    pub step: Option<Epsilon>,
    /// Steps of projected gradient descent.
    #[arg(long, value_name = "N", env = "RIFT_STEPS", default_value_t = 20)]
    pub steps: usize,
    /// The seed of the attack's noise.
    #[arg(long, value_name = "N", env = "RIFT_SEED", default_value_t = 0)]
    pub seed: u64,
    /// Also put ONNX Runtime's optimised form of the model into the bundle.
    #[arg(long, value_enum, env = "RIFT_OPTIMIZE")]
    pub optimize: Option<super::Optimize>,
    /// Also write the card here.
    #[arg(long, value_name = "FILE", env = "RIFT_JSON")]
    pub json: Option<PathBuf>,
}

impl Quantize {
    /// The flags that were given and mean nothing where activations are not integers.
    pub fn only_for_int8(&self) -> Vec<&'static str> {
        let given = [
            ("--activations", self.activations.is_some()),
            ("--calibration", self.calibration.is_some()),
            ("--percentile", self.percentile.is_some()),
            ("--calibration-images", self.calibration_images.is_some()),
            ("--reduce-range", self.reduce_range),
            ("--keep-float auto", self.keep_float == Some(Keep::Auto)),
            ("--bias-correction", self.bias_correction.is_some()),
        ];
        given.into_iter().filter_map(|(flag, is_given)| is_given.then_some(flag)).collect()
    }
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Weights {
    /// Signed bytes, a scale for each output channel; activations are bytes too
    Int8,
    /// Half precision, for size alone: everything is computed in float32
    Fp16,
}

impl From<Weights> for WeightFormat {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Int8 => Self::Int8,
            Weights::Fp16 => Self::Fp16,
        }
    }
}

/// The bytes that stand for activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    /// 0 to 255, the fastest on x86
    U8,
    /// -128 to 127, the fastest on Arm
    S8,
}

impl From<Activations> for ActivationFormat {
    fn from(activations: Activations) -> Self {
        match activations {
            Activations::U8 => Self::U8,
            Activations::S8 => Self::S8,
        }
    }
}

/// How the range of an activation is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Calibration {
    /// All that was seen
    Minmax,
    /// All but the outermost
    Percentile,
    /// The least Kullback–Leibler divergence
    Entropy,
    /// The least mean squared error
    Mse,
}

/// What a layer computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Placement {
    /// Integers
    Int8,
    /// Numbers in float32
    Float,
}

/// Layers that stay in float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// A search finds them.
    Auto,
    /// They have these names.
    Named(Vec<String>),
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "auto" {
            return Ok(Self::Auto);
        }
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(|name| name.is_empty() || name == "auto") {
            return Err("expected names separated by commas, or `auto` by itself".to_owned());
        }
        Ok(Self::Named(names))
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 50.0 && share <= 100.0 => Ok(share),
        _ => Err("expected a share above 50 and at most 100".to_owned()),
    }
}

fn points(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("expected percentage points from 0 to 100".to_owned()),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_or_searched_for() {
        assert_eq!("auto".parse(), Ok(Keep::Auto));
        assert_eq!("a, b".parse(), Ok(Keep::Named(vec!["a".into(), "b".into()])));
        for text in ["", "a,,b", ","] {
            assert!(text.parse::<Keep>().is_err(), "{text}");
        }
    }
}
