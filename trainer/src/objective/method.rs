//! The ways to train, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Cross-entropy on the images as they are.
    Standard,
    /// Adversarial training: cross-entropy on the worst images of the ball (Madry et al. 2018).
    At,
    /// Cross-entropy on the images as they are, and the divergence of the worst (Zhang et al. 2019).
    Trades,
    /// Boosted cross-entropy on the worst images, and a divergence that weighs what is misclassified
    /// (Wang et al. 2020).
    Mart,
    /// The squared error of the probabilities instead of the cross-entropy (Pang et al. 2022).
    Score,
    /// Adversarial training against a single step from a random start (Wong et al. 2020).
    FastAt,
}

/// A method's name that is not known.
#[derive(Debug, thiserror::Error)]
#[error("unknown method `{0}`, expected one of {known}", known = known())]
pub struct MethodError(String);

fn known() -> String {
    Method::ALL.map(|method| format!("`{method}`")).join(", ")
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Standard, Self::At, Self::Trades, Self::Mart, Self::Score, Self::FastAt];

    /// Whether it trains against an attack.
    pub fn is_adversarial(self) -> bool {
        self != Self::Standard
    }

    fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::At => "at",
            Self::Trades => "trades",
            Self::Mart => "mart",
            Self::Score => "score",
            Self::FastAt => "fast-at",
        }
    }
}

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == text)
            .ok_or_else(|| MethodError(text.to_owned()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
