//! The files that cross a stage, one type each.
//!
//! Stages talk through files, never through memory. Every artifact carries the [`Digest`] of what
//! it was made from, so that an audit can be traced back to the data, and every file is written
//! whole or not at all ([`atomic`]).

mod accuracy;
pub mod apply;
pub mod archive;
pub mod atomic;
mod audit;
mod bundle;
mod card;
mod certificate;
mod checkpoint;
mod corruptions;
mod digest;
mod interval;
mod lineage;
mod mrc;
pub mod place;
mod probe;
mod quantization;
mod reading;
pub mod sweep;
pub mod tensors;

pub use accuracy::Accuracy;
pub use apply::{ApplyError, LoadReport};
pub use archive::ArchiveError;
pub use audit::{
    AttackResult, AuditReport, AuditRequest, CurvePoint, ModelIdentity, RuntimeIdentity,
    SampleResult, Shard, Threat, TwinResult,
};
pub use bundle::{Bundle, BundleError};
pub use card::{Card, CardMetric, Optimized, Parity};
pub use certificate::{Certificate, CertifiedPoint, CertifiedSample};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointMeta};
pub use corruptions::{
    CorruptionAverage, CorruptionChange, CorruptionComparison, CorruptionReport, CorruptionResult,
    CorruptionVerdicts,
};
pub use digest::{Digest, DigestBuilder, DigestError};
pub use interval::Interval;
pub use lineage::Lineage;
pub use mrc::{Ascent, MrcReport, MrcRow, rank_correlation};
pub use probe::{Probe, ProbeError};
pub use quantization::{ActivationFormat, Calibration, Pair, Quantization, WeightFormat};
pub use reading::Reading;
pub use sweep::{PairedTest, SweepPoint, SweepReport};
pub use tensors::{TensorFileError, TensorMap};

use std::path::Path;

use serde::de::DeserializeOwned;

/// A JSON artifact that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("`{path}` is not a valid {what}")]
    Parse {
        /// The file.
        path: String,
        /// What was expected.
        what: &'static str,
        /// Where it fails.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads a JSON artifact; `what` names it in errors.
///
/// # Errors
/// If the file cannot be read or does not parse.
pub fn read_json<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, JsonError> {
    Ok(read_json_of(path, what)?.0)
}

/// As [`read_json`], with the digest of what was read.
fn read_json_of<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
) -> Result<(T, Digest), JsonError> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| JsonError::Read { path: name(), source })?;
    let value = serde_json::from_slice(&bytes).map_err(|source| JsonError::Parse {
        path: name(),
        what,
        source,
    })?;
    Ok((value, Digest::of_bytes(&bytes)))
}
