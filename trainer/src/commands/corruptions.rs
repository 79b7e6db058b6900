//! The flags of the common corruptions.

use std::path::PathBuf;

use clap::Args;
use rift_models::corruption::{Corruptions, Published, Severities, Survey};

use super::given::Given;

/// Which corruptions, and how severe.
#[derive(Clone, Debug, Args)]
pub(super) struct CorruptionArgs {
    #[command(flatten)]
    given: Given,
    /// Measure accuracy under common corruptions too: `standard` (RobustBench's 15), `paper` (18),
    /// `all` (19) or names such as `fog,snow`; without a value, all.
    #[arg(long, value_name = "NAMES", env = "RIFT_CORRUPTIONS", num_args = 0..=1, default_missing_value = "all")]
    corruptions: Option<Corruptions>,
    /// Their severities: `3`, `1,3,5` or `1..5`.
    #[arg(long, value_name = "LEVELS", env = "RIFT_SEVERITY", default_value = "1..5")]
    severity: Severities,
    /// Take the corrupted images from this folder of published ones, such as CIFAR-10-C, rather than compute
    /// them.
    #[arg(long, value_name = "FOLDER", env = "RIFT_CORRUPTION_FILES")]
    corruption_files: Option<PathBuf>,
}

impl CorruptionArgs {
    /// Refuses flags that have no effect because no corruptions are asked for.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        // What follows in the same command, `TestArgs` has its limit, was written there too.
        let idle = self.given.first(&["severity", "corruption_files", "corruption_limit"]);
        match idle.filter(|_| self.corruptions.is_none()) {
            Some(flag) => {
                let flag = flag.replace('_', "-");
                anyhow::bail!("`--{flag}` has no effect without `--corruptions`")
            }
            None => Ok(()),
        }
    }

    /// What is to be measured, if anything is; `seed` is that of the corruptions' draws.
    pub(super) fn survey(&self, seed: u64, batch: usize) -> Option<Survey> {
        let corruptions = self.corruptions.as_ref()?.0.clone();
        let published = self.corruption_files.clone().map(Published::new);
        Some(Survey { corruptions, severities: self.severity.0.clone(), seed, batch, published })
    }
}
