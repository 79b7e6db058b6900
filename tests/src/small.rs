//! Small artifacts, made in a second.

use std::path::{Path, PathBuf};
use std::process::Command;

use rift_models::arch::{ArchSpec, init};
use rift_models::artifact::{Checkpoint, CheckpointMeta, Lineage};

use crate::Program;
use crate::images::{TINY, TINY_ARCH};
use crate::program::finish;

/// The network that [`training`] trains.
pub fn tiny_arch() -> ArchSpec {
    ArchSpec { width: Some(8), ..ArchSpec::new("resnet8", [1, 12, 12], 3) }
}

/// A checkpoint of `arch` with random weights.
///
/// # Panics
/// If the architecture cannot be built.
pub fn random_checkpoint(arch: ArchSpec) -> Checkpoint {
    let graph = match arch.build() {
        Ok(graph) => graph,
        Err(error) => panic!("{error}"),
    };
    let tensors = init::initialise(&graph, 0);
    let classes = (0..arch.classes).map(|class| format!("class {class}")).collect();
    Checkpoint { meta: CheckpointMeta::new(arch, classes, None, Lineage::default()), tensors }
}

/// Adversarial training of a tiny network for `epochs` at a constant rate, so that few teach it
/// something, as a command; it writes `run`.
pub fn training(run: &Path, epochs: u32) -> Command {
    let mut command = Program::Trainer.command(["train", "--data", TINY, "--method", "at"]);
    command
        .args(TINY_ARCH)
        .args(["--eps", "8/255", "--step", "4/255", "--steps", "2", "--decay", "1"]);
    command.args(["--epochs", &epochs.to_string(), "--out"]).arg(run);
    command
}

/// A tiny network in `folder`, trained for two epochs.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Its checkpoint.
    pub checkpoint: PathBuf,
    /// Its bundle.
    pub bundle: PathBuf,
}

impl Trained {
    /// Trains it and exports it.
    ///
    /// # Panics
    /// If a program fails.
    pub fn new(folder: &Path) -> Self {
        let run = folder.join("run");
        let _ = finish(&mut training(&run, 2)).success();
        let trained =
            Self { checkpoint: run.join("at.safetensors"), bundle: folder.join("bundle") };
        // A sweep between a checkpoint and itself writes the probe that the exporter wants.
        let sweep = folder.join("sweep");
        let mut command =
            Program::Trainer.command(["interpolate", "--data", TINY, "--limit", "40"]);
        command.args(["--alphas", "0,1", "--steps", "1"]);
        command.arg("--from").arg(&trained.checkpoint).arg("--to").arg(&trained.checkpoint);
        let _ = finish(command.arg("--out").arg(&sweep)).success();
        let mut command = Program::Exporter.command(["export", "--checkpoint"]);
        command.arg(sweep.join("rift.safetensors")).arg("--out").arg(&trained.bundle);
        let _ = finish(&mut command).success();
        trained
    }
}
