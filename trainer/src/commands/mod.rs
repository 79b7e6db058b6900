//! The commands, a file each: from arguments to stages to what the user reads.

pub mod bench;
pub mod eval;

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
