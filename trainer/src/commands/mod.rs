//! The commands, a file each: from arguments to stages to what the user reads.

pub mod ablate;
pub mod bench;
pub mod bench_criticality;
pub mod check;
mod corruptions;
pub mod eval;
pub mod finetune;
mod given;
pub mod import;
pub mod interpolate;
pub mod mrc;
mod output;
#[cfg(test)]
mod pipeline_tests;
mod places;
pub mod presets;
pub mod rift;
mod signals;
mod source;
pub mod train;
mod tuning;

use rift_models::artifact::CheckpointMeta;
use rift_models::dataset::{ClassesError, Dataset};

/// Checks that the images are those that the network takes, and their
/// [classes](Dataset::check_classes) its.
///
/// # Errors
/// If size or classes differ.
pub fn check_fit(meta: &CheckpointMeta, dataset: &Dataset) -> anyhow::Result<()> {
    let input = meta.arch.input;
    anyhow::ensure!(
        dataset.input() == input,
        "the checkpoint takes images of {input:?} (channels, height, width), the data has {:?}",
        dataset.input()
    );
    dataset.check_classes(&meta.classes).map_err(|error| match error {
        ClassesError::Count { expected, found } => {
            anyhow::anyhow!("the checkpoint has {expected} classes, the data has {found}")
        }
        ClassesError::Name { class, expected, found } => anyhow::anyhow!(
            "class {class} is `{expected}` to the checkpoint and `{found}` to the data, expected the same \
             names in the same order"
        ),
    })
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && *value > 0.0)
        .ok_or_else(|| "expected a number above 0".to_owned())
}
