//! A checkpoint as an ONNX model that says where it comes from.

use std::collections::BTreeMap;

use rift_models::arch::Graph;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Digest, Lineage};
use rift_models::onnx::Model;

use crate::fold::{FoldError, fold};
use crate::lower::{LowerError, OPSET, lower};

/// The keys under which a model says about itself what its checkpoint does.
pub mod key {
    /// The names of the classes: a JSON list of texts.
    pub const CLASSES: &str = "classes";
    /// The threat model that the network was trained against, as JSON; absent if none is known.
    pub const THREAT: &str = "threat";
    /// Where the model comes from, as JSON.
    pub const LINEAGE: &str = "lineage";
    /// The digest of the checkpoint.
    pub const CHECKPOINT: &str = "checkpoint";
}

/// A checkpoint as ONNX.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// The model.
    pub model: Model,
    /// Where it comes from.
    pub lineage: Lineage,
    /// Batch normalisations that were folded.
    pub folded: usize,
}

/// A checkpoint that cannot be printed as ONNX.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// As many names as logits are needed.
    #[error("expected {expected} class names, found {found}")]
    Classes {
        /// Logits.
        expected: usize,
        /// Names.
        found: usize,
    },
    /// A batch normalisation cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The network cannot be printed.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// What the checkpoint says of itself has no JSON.
    #[error("the checkpoint's metadata cannot be written as JSON")]
    Metadata(#[from] serde_json::Error),
}

/// Prints `checkpoint`, whose network is `graph` and whose file has `digest`; the same checkpoint
/// gives the same bytes.
///
/// # Errors
/// If the statistics cannot be folded or the class names are not those of the logits.
pub fn freeze(
    checkpoint: Checkpoint,
    graph: &Graph,
    digest: &Digest,
) -> Result<Frozen, FreezeError> {
    let Checkpoint { meta, tensors } = checkpoint;
    if meta.classes.len() != graph.classes {
        let (expected, found) = (graph.classes, meta.classes.len());
        return Err(FreezeError::Classes { expected, found });
    }
    let lineage = Lineage {
        made_by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), " export").into(),
        parents: BTreeMap::from([("checkpoint".to_owned(), digest.clone())]),
        settings: serde_json::json!({ "opset": OPSET }),
        ancestors: BTreeMap::from([("checkpoint".to_owned(), meta.lineage.clone())]),
    };
    let metadata = metadata(&meta, &lineage, digest)?;
    let folded = fold(graph, tensors)?;
    let model = lower(&meta.arch.name, &folded.graph, &folded.tensors, &metadata)?;
    Ok(Frozen { model, lineage, folded: folded.folded })
}

fn metadata(
    meta: &CheckpointMeta,
    lineage: &Lineage,
    digest: &Digest,
) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let mut metadata = BTreeMap::from([
        (key::CHECKPOINT.to_owned(), digest.to_string()),
        (key::CLASSES.to_owned(), serde_json::to_string(&meta.classes)?),
        (key::LINEAGE.to_owned(), serde_json::to_string(lineage)?),
    ]);
    if let Some(threat) = &meta.threat {
        metadata.insert(key::THREAT.to_owned(), serde_json::to_string(threat)?);
    }
    Ok(metadata)
}
