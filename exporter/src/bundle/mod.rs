//! Bundles: a model with its card, its probe, its bill of materials and a page for people.
//!
//! [`export`] writes one only if the ONNX file, run by ONNX Runtime, gives the probe's images the
//! logits that the trainer gave them.

mod bom;
pub mod evidence;
pub mod figures;
mod freeze;
mod hub;
pub mod optimized;
mod origin;
pub mod quantized;
mod readme;

use std::path::{Path, PathBuf};

use rift_models::artifact::atomic::{self, AtomicError, StagedFolder};
use rift_models::artifact::{
    Bundle, Card, Checkpoint, CheckpointError, Digest, JsonError, Probe, ProbeError,
};
use rift_models::onnx::Model;
use rift_runtime::session::SessionError;
use rift_runtime::session::ahead::Reach;

pub use freeze::{FreezeError, Frozen, freeze, key};
pub use optimized::OptimizeError;

use crate::lower::OPSET;
use crate::verify::engine::Engine;
use crate::verify::parity::{self, Comparison, ShapeMismatch};

/// What to export, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// The probe; the file `probe.safetensors` beside the checkpoint if none is named.
    pub probe: Option<PathBuf>,
    /// The bundle's folder.
    pub out: PathBuf,
    /// The bundle's name; the folder's if none is given.
    pub name: Option<String>,
    /// The largest difference of a logit that is accepted.
    pub tolerance: f64,
    /// Whether to add the optimised form of the model, and for whom.
    pub optimize: Option<Reach>,
}

/// A bundle that was written.
#[derive(Clone, Debug)]
pub struct Exported {
    /// What it says of itself.
    pub card: Card,
    /// The size of the model in bytes.
    pub bytes: usize,
    /// Nodes of the model.
    pub nodes: usize,
    /// Batch normalisations that were folded.
    pub folded: usize,
}

/// A bundle that was not written; nothing was.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint cannot be printed as ONNX.
    #[error("`{path}` cannot be exported")]
    Freeze {
        /// The checkpoint.
        path: String,
        /// Why not.
        #[source]
        source: FreezeError,
    },
    /// There is no probe.
    #[error(
        "no probe `{path}`: only the trainer can compute the checkpoint's own logits, and \
         `rift-trainer rift`, `interpolate` and `eval --probe` write them; name one by `--probe`"
    )]
    NoProbe {
        /// Where it was looked for.
        path: String,
    },
    /// The probe cannot be read.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The probe's logits are another checkpoint's.
    #[error(
        "the probe `{path}` is of checkpoint {found}, expected {expected}, the digest of \
         `{checkpoint}`; name a probe of this checkpoint by `--probe`"
    )]
    OtherProbe {
        /// The probe.
        path: String,
        /// The checkpoint to be exported.
        checkpoint: String,
        /// Its digest.
        expected: Digest,
        /// The digest in the probe.
        found: Digest,
    },
    /// The probe's images or logits are not of the network's shape.
    #[error("the {what} of `{path}` are of shape {found:?}, expected {expected:?}")]
    ProbeShape {
        /// The probe.
        path: String,
        /// `images` or `logits`.
        what: &'static str,
        /// The network's shape, without the number of images.
        expected: Vec<usize>,
        /// The probe's, without the number of images.
        found: Vec<usize>,
    },
    /// The figures beside the checkpoint cannot be read.
    #[error(transparent)]
    Figures(#[from] JsonError),
    /// The ONNX file does not run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The ONNX file gives something else than logits.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
    /// The answer is no: the ONNX file is not the checkpoint.
    #[error(
        "nothing written: the ONNX file's logits differ from the checkpoint's by up to {:.3e}, \
         accepted is {:e} (worst: {})",
        .0.parity.max_abs_difference, .0.parity.tolerance, .0.worst
    )]
    Parity(Box<Comparison>),
    /// The model cannot be optimised.
    #[error(transparent)]
    Optimize(#[from] OptimizeError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// Exports a checkpoint to a bundle, running the ONNX file on `engine` first.
///
/// # Errors
/// If something cannot be read, run or written, or the logits differ by more than the tolerance;
/// then nothing is written and an older bundle stays.
pub fn export(request: &Request, engine: &Engine) -> Result<Exported, ExportError> {
    let (checkpoint, graph, digest) = Checkpoint::read(&request.checkpoint)?;
    let probe = find_probe(request, &digest)?;
    check_shapes(request, &probe, graph.input, graph.classes)?;
    let metrics = figures::measured(&request.checkpoint, &checkpoint.meta.lineage)?;
    let meta = checkpoint.meta.clone();
    tracing::info!("printing `{}` as ONNX", request.checkpoint.display());
    let Frozen { model, lineage, folded } =
        freeze(checkpoint, &graph, &digest).map_err(|source| {
            let path = request.checkpoint.display().to_string();
            ExportError::Freeze { path, source }
        })?;
    let nodes = model.graph().node.len();
    let bytes = model.to_bytes();
    let found = engine.logits(&request.out.join(Bundle::MODEL), bytes.clone(), &probe.images)?;
    let Comparison { parity, worst } = parity::compare(&probe.logits, &found, request.tolerance)?;
    if !parity.holds() {
        return Err(ExportError::Parity(Box::new(Comparison { parity, worst })));
    }
    let staged = Bundle::stage(&request.out)?;
    let probe_digest = probe.write(&staged.path().join(Bundle::PROBE))?;
    let mut card = Card {
        format: Card::FORMAT,
        name: request.name.clone().unwrap_or_else(|| folder_name(&request.out)),
        arch: meta.arch,
        classes: meta.classes,
        threat: meta.threat,
        opset: OPSET,
        model: Digest::of_bytes(&bytes),
        probe: probe_digest.clone(),
        checkpoint: digest,
        parity,
        metrics,
        quantization: None,
        optimized: None,
        lineage,
    };
    card.lineage.parents.insert("probe".to_owned(), probe_digest);
    finish(staged, &mut card, (&model, request.optimize), engine)?;
    Ok(Exported { card, bytes: bytes.len(), nodes, folded })
}

/// Adds the model, its optimised form where asked, the card, the bill of materials and the page to
/// the probe that is there, and gives the bundle its name.
fn finish(
    staged: StagedFolder,
    card: &mut Card,
    (model, optimize): (&Model, Option<Reach>),
    engine: &Engine,
) -> Result<(), OptimizeError> {
    let folder = staged.path();
    atomic::write(&folder.join(Bundle::MODEL), &model.to_bytes())?;
    if let Some(reach) = optimize {
        card.optimized = Some(optimized::add(folder, model, reach)?);
        optimized::check(folder, card.parity.tolerance, engine)?;
    }
    evidence::write(folder, card)?;
    Ok(staged.commit()?)
}

/// Where the probe lies: as the user named it, or beside the checkpoint.
pub fn probe_path(request: &Request) -> PathBuf {
    let beside = || request.checkpoint.with_file_name(Bundle::PROBE);
    request.probe.clone().unwrap_or_else(beside)
}

/// The probe that the user named or the one beside the checkpoint, if it is of this checkpoint.
fn find_probe(request: &Request, checkpoint: &Digest) -> Result<Probe, ExportError> {
    let path = probe_path(request);
    if request.probe.is_none() && !path.exists() {
        return Err(ExportError::NoProbe { path: path.display().to_string() });
    }
    let (probe, _) = Probe::read(&path)?;
    if probe.checkpoint != *checkpoint {
        return Err(ExportError::OtherProbe {
            path: path.display().to_string(),
            checkpoint: request.checkpoint.display().to_string(),
            expected: checkpoint.clone(),
            found: probe.checkpoint,
        });
    }
    Ok(probe)
}

fn check_shapes(
    request: &Request,
    probe: &Probe,
    input: [usize; 3],
    classes: usize,
) -> Result<(), ExportError> {
    let shapes = [
        ("images", input.to_vec(), probe.images.shape()[1..].to_vec()),
        ("logits", vec![classes], probe.logits.shape()[1..].to_vec()),
    ];
    match shapes.into_iter().find(|(_, expected, found)| expected != found) {
        Some((what, expected, found)) => {
            let path = probe_path(request).display().to_string();
            Err(ExportError::ProbeShape { path, what, expected, found })
        }
        None => Ok(()),
    }
}

/// The last part of a path, as it is on the disk: `.` and `..` have names too.
fn folder_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "model".to_owned())
}
