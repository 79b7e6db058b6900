//! What the stages after training start from: a checkpoint, images and a threat.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use rift_models::artifact::{CheckpointMeta, Digest, Lineage};
use rift_models::dataset::{Dataset, Split};
use rift_models::threat::{AttackSpec, Epsilon, Norm};
use tch::Device;

use crate::cli::{DataArgs, MachineArgs, PrecisionArgs};
use crate::data::ImageSet;
use crate::network::Network;

/// A checkpoint on a device.
pub(super) struct Source {
    pub(super) network: Network,
    pub(super) meta: CheckpointMeta,
    pub(super) digest: Digest,
    pub(super) device: Device,
}

/// Images on a device.
pub(super) struct Images {
    pub(super) set: ImageSet,
    pub(super) split: Split,
    pub(super) digest: Digest,
}

impl Source {
    /// Reads a checkpoint to the device that `machine` finds.
    pub(super) fn read(
        path: &Path,
        machine: &MachineArgs,
        PrecisionArgs { precision }: PrecisionArgs,
    ) -> anyhow::Result<Self> {
        let device = machine.start(precision)?;
        let (network, meta, digest) = Network::read(path, device).map_err(|error| {
            let foreign = path.extension().is_some_and(|e| e == "pth" || e == "pt");
            let error = anyhow::Error::new(error);
            if foreign {
                error.context(
                    "not yet a checkpoint, `rift-trainer import` makes one of published weights",
                )
            } else {
                error
            }
        })?;
        let network = network.with_precision(precision);
        Ok(Self { network, meta, digest, device })
    }

    /// Reads the images of a split, the first `limit` of them, which have to be of the size and
    /// classes that the checkpoint takes.
    pub(super) fn open(
        &self,
        data: &DataArgs,
        split: Split,
        limit: Option<usize>,
    ) -> anyhow::Result<Dataset> {
        let dataset = DataArgs { limit, ..data.clone() }.open(split)?;
        super::check_fit(&self.meta, &dataset)?;
        let classes = dataset.class_count();
        // Where there is one, every network is right.
        anyhow::ensure!(
            split == Split::Test || classes > 1,
            "expected images of at least 2 classes, found {classes}"
        );
        Ok(dataset)
    }

    /// Puts images on the checkpoint's device.
    pub(super) fn images(&self, dataset: &Dataset) -> anyhow::Result<Images> {
        let set = ImageSet::new(dataset, self.device)?;
        Ok(Images { set, split: dataset.split, digest: dataset.digest.clone() })
    }

    /// The lineage of what a command makes of the checkpoint.
    pub(super) fn lineage(
        &self,
        command: &str,
        parents: &[(&str, &Digest)],
        mut settings: serde_json::Value,
    ) -> Lineage {
        if let Some(settings) = settings.as_object_mut() {
            settings.insert("precision".to_owned(), self.network.precision().to_string().into());
        }
        let parents = parents.iter().map(|(role, digest)| ((*role).to_owned(), (*digest).clone()));
        Lineage {
            made_by: made_by(command),
            parents: parents.chain([("checkpoint".to_owned(), self.digest.clone())]).collect(),
            settings,
            ancestors: BTreeMap::from([("checkpoint".to_owned(), self.meta.lineage.clone())]),
        }
    }
}

/// Program, version and command, as a lineage names its maker.
pub(super) fn made_by(command: &str) -> String {
    format!("rift-trainer {} {command}", env!("CARGO_PKG_VERSION"))
}

/// The attack that a stage uses, with the checkpoint's own threat as default.
#[derive(Clone, Debug, Args)]
pub(super) struct ThreatArgs {
    /// The norm, `linf` or `l2`; by default the one that the checkpoint was trained against.
    #[arg(long, env = "RIFT_NORM")]
    norm: Option<Norm>,
    /// The radius in pixel units, such as `8/255`; by default the checkpoint's, or 8/255.
    #[arg(long, env = "RIFT_EPS")]
    eps: Option<Epsilon>,
    /// The length of a step in pixel units; by default a quarter of the radius.
    #[arg(long, env = "RIFT_STEP")]
    step: Option<Epsilon>,
    /// Gradient steps.
    #[arg(long, default_value_t = 10, env = "RIFT_STEPS", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    steps: usize,
}

impl ThreatArgs {
    /// The attack on images of the checkpoint's size.
    pub(super) fn spec(&self, meta: &CheckpointMeta, seed: u64) -> anyhow::Result<AttackSpec> {
        let (norm, eps) = ball(meta.threat.as_ref(), self.norm, self.eps.as_ref())?;
        let step = self.step.clone().unwrap_or_else(|| eps.quarter());
        let steps = self.steps;
        let spec = AttackSpec { norm, eps, step, steps, seed, ..AttackSpec::paper() };
        spec.validate(meta.arch.input.iter().product()).context("no attack can be made of that")?;
        Ok(spec)
    }
}

/// Norm and radius: those that are asked for, else `own`, else the paper's.
///
/// # Errors
/// If only a norm is asked for, and another one: radii of different norms have nothing in common.
pub(super) fn ball(
    own: Option<&AttackSpec>,
    norm: Option<Norm>,
    eps: Option<&Epsilon>,
) -> anyhow::Result<(Norm, Epsilon)> {
    let own = own.cloned().unwrap_or_else(AttackSpec::paper);
    let norm = norm.unwrap_or(own.norm);
    match eps {
        Some(eps) => Ok((norm, eps.clone())),
        None if norm == own.norm => Ok((norm, own.eps)),
        None => anyhow::bail!("`--norm {norm}` needs a radius, such as `--eps 0.5`"),
    }
}
