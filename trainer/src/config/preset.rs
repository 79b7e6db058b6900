//! The settings that a training may start from.

use clap::ValueEnum;
use toml::Table;

use super::{ConfigError, one_line};

/// Settings that a training starts from, each a file in `config/` that names its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// The paper's: 110 epochs of adversarial training, PGD-10, the rate falls at 100 and 105.
    #[default]
    RiftPaper,
    /// A few epochs on one cycle, PGD-4: for demonstrations and processors.
    Quick,
    /// TRADES with its published settings.
    Trades,
    /// MART with its published settings.
    Mart,
    /// SCORE, the squared error clipped, without extra data.
    Score,
    /// Adversarial training with adversarial weight perturbation.
    Awp,
    /// Fast-AT: a single step from a random start, 15 epochs.
    FastAt,
    /// The settings that a study of adversarial training's details recommends.
    BagOfTricks,
    /// TRADES on generated images with averaged weights: give those with `--extra-data`.
    Wang2023,
}

impl Preset {
    /// All of them.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The name by which it is asked for.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What it is, in a line.
    pub fn summary(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().cloned());
        help.map(|help| help.to_string()).unwrap_or_default()
    }

    /// Its file.
    pub fn text(self) -> &'static str {
        match self {
            Self::RiftPaper => include_str!("rift-paper.toml"),
            Self::Quick => include_str!("quick.toml"),
            Self::Trades => include_str!("trades.toml"),
            Self::Mart => include_str!("mart.toml"),
            Self::Score => include_str!("score.toml"),
            Self::Awp => include_str!("awp.toml"),
            Self::FastAt => include_str!("fast-at.toml"),
            Self::BagOfTricks => include_str!("bag-of-tricks.toml"),
            Self::Wang2023 => include_str!("wang2023.toml"),
        }
    }

    pub(super) fn table(self) -> Result<Table, ConfigError> {
        self.text().parse().map_err(|error| ConfigError::Key(one_line(&error)))
    }
}
