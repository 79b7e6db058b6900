//! The commands, a file each: from arguments to stages to what the user reads.

pub mod ablate;
pub mod bench;
pub mod bench_criticality;
pub mod check;
mod corruptions;
pub mod eval;
pub mod finetune;
pub mod import;
pub mod interpolate;
pub mod mrc;
#[cfg(test)]
mod pipeline_tests;
pub mod presets;
pub mod rift;
mod signals;
mod source;
pub mod train;
mod tuning;

use rift_models::artifact::CheckpointMeta;
use rift_models::dataset::Dataset;

/// Checks that the images are those that the network takes.
///
/// # Errors
/// If size or classes differ.
pub fn check_fit(meta: &CheckpointMeta, dataset: &Dataset) -> anyhow::Result<()> {
    let (input, classes) = (meta.arch.input, meta.arch.classes);
    anyhow::ensure!(
        dataset.input() == input,
        "the checkpoint takes images of {input:?} (channels, height, width), the data has {:?}",
        dataset.input()
    );
    anyhow::ensure!(
        dataset.class_count() == classes,
        "the checkpoint has {classes} classes, the data has {}",
        dataset.class_count()
    );
    Ok(())
}

/// A number above 0.
fn positive(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && *value > 0.0)
        .ok_or_else(|| "expected a number above 0".to_owned())
}
