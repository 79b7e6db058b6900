//! The weights of a network, with what is needed to build it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensors::{self, TensorFile, TensorFileError, TensorMap};
use super::{ApplyError, Digest, Lineage, apply};
use crate::arch::{ArchError, ArchSpec, Graph};
use crate::threat::AttackSpec;

/// The key of the metadata in the safetensors header.
const KEY: &str = "rift";
/// The version of the format that this code writes.
const FORMAT: u32 = 1;

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// The version of the format.
    pub format: u32,
    /// The network.
    pub arch: ArchSpec,
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The threat it was trained against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threat: Option<AttackSpec>,
    /// Where it comes from.
    pub lineage: Lineage,
}

impl CheckpointMeta {
    /// Metadata of the current format.
    pub fn new(
        arch: ArchSpec,
        classes: Vec<String>,
        threat: Option<AttackSpec>,
        lineage: Lineage,
    ) -> Self {
        Self { format: FORMAT, arch, classes, threat, lineage }
    }
}

/// Weights and running statistics, by name, with what is needed to build the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What it says of itself.
    pub meta: CheckpointMeta,
    /// Every parameter and buffer.
    pub tensors: TensorMap,
}

/// A checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file is no safetensors file, or cannot be read or written.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The file has no metadata of ours.
    #[error(
        "`{path}` is not a Rift checkpoint: its header has no `{KEY}` entry (`rift-trainer import` makes one)"
    )]
    Foreign {
        /// The file.
        path: String,
    },
    /// The metadata does not parse.
    #[error("the metadata of `{path}` is not valid")]
    Meta {
        /// The file.
        path: String,
        /// Where it fails.
        #[source]
        source: serde_json::Error,
    },
    /// A newer format.
    #[error("`{path}` has checkpoint format {found}, this version reads {FORMAT}")]
    Format {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
    },
    /// The architecture cannot be built.
    #[error("the architecture of `{path}` cannot be built")]
    Arch {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: ArchError,
    },
    /// The tensors are not those of the architecture.
    #[error("`{path}` does not fit its architecture")]
    Apply {
        /// The file.
        path: String,
        /// What does not fit.
        #[source]
        source: ApplyError,
    },
}

impl Checkpoint {
    /// Reads a checkpoint, builds its network and checks that the tensors are exactly the
    /// network's.
    ///
    /// # Errors
    /// If the file is not a checkpoint or does not fit the architecture that it names.
    pub fn read(path: &Path) -> Result<(Self, Graph, Digest), CheckpointError> {
        Self::of_file(path, tensors::read(path)?)
    }

    /// As [`read`](Self::read), of a file's content; `path` names it in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<(Self, Graph, Digest), CheckpointError> {
        Self::of_file(path, tensors::parse(path, bytes)?)
    }

    fn of_file(path: &Path, file: TensorFile) -> Result<(Self, Graph, Digest), CheckpointError> {
        let name = || path.display().to_string();
        let text =
            file.metadata.get(KEY).ok_or_else(|| CheckpointError::Foreign { path: name() })?;
        let meta: CheckpointMeta = serde_json::from_str(text)
            .map_err(|source| CheckpointError::Meta { path: name(), source })?;
        if meta.format != FORMAT {
            return Err(CheckpointError::Format { path: name(), found: meta.format });
        }
        let graph =
            meta.arch.build().map_err(|source| CheckpointError::Arch { path: name(), source })?;
        let checkpoint = Self { meta, tensors: file.tensors };
        apply::check(&graph, &checkpoint.tensors)
            .map_err(|source| CheckpointError::Apply { path: name(), source })?;
        Ok((checkpoint, graph, file.digest))
    }

    /// Writes the checkpoint; the same content gives the same bytes.
    ///
    /// # Errors
    /// If the disk is full or the path cannot be written.
    pub fn write(&self, path: &Path) -> Result<Digest, CheckpointError> {
        let text = serde_json::to_string(&self.meta)
            .map_err(|source| CheckpointError::Meta { path: path.display().to_string(), source })?;
        Ok(tensors::write(path, &self.tensors, BTreeMap::from([(KEY.to_owned(), text)]))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::init;

    fn checkpoint() -> Checkpoint {
        let arch = ArchSpec::new("resnet8", [1, 28, 28], 2);
        let tensors = init::initialise(&arch.build().unwrap(), 0);
        let classes = vec!["cat".to_owned(), "dog".to_owned()];
        let threat = Some(AttackSpec::paper());
        Checkpoint { meta: CheckpointMeta::new(arch, classes, threat, Lineage::default()), tensors }
    }

    #[test]
    fn comes_back_as_it_was_with_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|n| folder.path().join(n));
        let written = checkpoint();
        let digest = written.write(&a).unwrap();
        assert_eq!(written.write(&b).unwrap(), digest);
        let (read, graph, read_digest) = Checkpoint::read(&a).unwrap();
        assert_eq!(read, written);
        assert_eq!(read_digest, digest);
        assert_eq!(graph, written.meta.arch.build().unwrap());
    }

    #[test]
    fn refuses_a_file_of_another_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        let mut other = checkpoint();
        other.meta.arch.name = "resnet20".to_owned();
        other.write(&path).unwrap();
        let error = Checkpoint::read(&path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("layer1.1."), "{cause}");
    }

    #[test]
    fn refuses_foreign_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        tensors::write(&path, &checkpoint().tensors, BTreeMap::new()).unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(CheckpointError::Foreign { .. })));
        let future = CheckpointMeta { format: 9, ..checkpoint().meta };
        Checkpoint { meta: future, ..checkpoint() }.write(&path).unwrap();
        assert!(matches!(Checkpoint::read(&path), Err(CheckpointError::Format { found: 9, .. })));
    }
}
