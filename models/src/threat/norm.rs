//! The norms in which a perturbation is measured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The norm that bounds a perturbation δ of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// ‖δ‖∞ = max |δᵢ|: no pixel changes by more than ε.
    #[default]
    Linf,
    /// ‖δ‖₂ = √Σ δᵢ², over all channels and positions of one image.
    L2,
}

/// A norm's name that is not known.
#[derive(Debug, thiserror::Error)]
#[error("unknown norm `{0}`, expected `linf` or `l2`")]
pub struct NormError(String);

impl FromStr for Norm {
    type Err = NormError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "linf" => Ok(Self::Linf),
            "l2" => Ok(Self::L2),
            _ => Err(NormError(text.to_owned())),
        }
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linf => "linf",
            Self::L2 => "l2",
        })
    }
}

impl Norm {
    /// The norm of `delta`, accumulated in `f64`.
    pub fn of(self, delta: impl IntoIterator<Item = f32>) -> f32 {
        match self {
            Self::Linf => delta.into_iter().fold(0.0, |largest, d| largest.max(d.abs())),
            Self::L2 => {
                delta.into_iter().map(|d| f64::from(d) * f64::from(d)).sum::<f64>().sqrt() as f32
            }
        }
    }
}
