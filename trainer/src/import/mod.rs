//! Published weights: PyTorch's `.pth` and foreign `.safetensors`, made into checkpoints.
//!
//! A `.pth` file is a zip archive with a pickle, and a pickle is a program. It is interpreted by a
//! closed machine that knows what a state dict is made of. Everything else in the file is inert, and
//! refused by name where weights depend on it; nothing is ever executed, and memory is bounded by the
//! file.

mod archive;
mod convert;
mod normalisation;
mod pickle;
mod state_dict;
mod value;

use std::path::Path;

use rift_models::arch::ArchError;
use rift_models::artifact::tensors::{self, TensorMap};
use rift_models::artifact::{ApplyError, Digest, DigestError, TensorFileError};

pub use convert::{Imported, Settings, import};
pub use pickle::PickleError;

/// A file of weights that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The format of PyTorch before 1.6.
    #[error(
        "`{path}` is in PyTorch's format from before version 1.6; convert it once in Python: \
         `torch.save(torch.load(\"{path}\", map_location=\"cpu\"), \"converted.pth\")`"
    )]
    Legacy {
        /// The file.
        path: String,
    },
    /// A compiled model, not weights.
    #[error(
        "`{path}` is a TorchScript program, expected weights saved with \
         `torch.save(model.state_dict(), …)`"
    )]
    TorchScript {
        /// The file.
        path: String,
    },
    /// No zip archive, or a broken one.
    #[error("`{path}` is not a PyTorch file, whose format is a zip archive")]
    Zip {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        source: zip::result::ZipError,
    },
    /// A zip archive of something else.
    #[error("`{path}` is a zip archive without a `data.pkl`, so not a PyTorch file")]
    NoPickle {
        /// The file.
        path: String,
    },
    /// The archive lacks an entry that it refers to.
    #[error("`{path}` has no entry `{name}`")]
    Entry {
        /// The file.
        path: String,
        /// The entry.
        name: String,
    },
    /// A compressed entry, which `torch.save` never writes and which could expand without bound.
    #[error("entry `{name}` of `{path}` is compressed, which `torch.save` never does")]
    Compressed {
        /// The file.
        path: String,
        /// The entry.
        name: String,
    },
    /// An entry that is larger than it may be.
    #[error("entry `{name}` of `{path}` has {found} bytes, expected at most {limit}")]
    Size {
        /// The file.
        path: String,
        /// The entry.
        name: String,
        /// The most it may have.
        limit: u64,
        /// What it has.
        found: u64,
    },
    /// Written on a big-endian machine.
    #[error("`{path}` was written on a machine with big-endian numbers, expected little-endian")]
    ByteOrder {
        /// The file.
        path: String,
    },
    /// The pickle is not that of a state dict.
    #[error("`{path}` is not a state dict")]
    Pickle {
        /// The file.
        path: String,
        /// What it holds instead.
        #[source]
        source: PickleError,
    },
    /// Nothing that looks like a state dict.
    #[error(
        "`{path}` holds no dictionary of tensors, also not under `state_dict`, `model` or another key; \
         its keys are {keys:?}"
    )]
    NoTensors {
        /// The file.
        path: String,
        /// The first keys of its outermost dictionary.
        keys: Vec<String>,
    },
    /// More than one state dict, and none of them under a key that says which is meant.
    #[error(
        "`{path}` holds several dictionaries of tensors, {keys}, expected one, or one of them as \
         `state_dict`"
    )]
    SeveralStates {
        /// The file.
        path: String,
        /// Their keys.
        keys: String,
    },
    /// A weight that is no tensor that can be read.
    #[error("`{name}` of `{path}` is made of `{made_of}`, expected a tensor")]
    Foreign {
        /// The file.
        path: String,
        /// The weight.
        name: String,
        /// A name of Python's.
        made_of: String,
    },
    /// A class name that is there twice.
    #[error("the class name `{name}` is given twice, expected a name of its own for each class")]
    TwiceNamed {
        /// The name.
        name: String,
    },
    /// A tensor that cannot be read.
    #[error("tensor `{name}` of `{path}` cannot be read: {reason}")]
    Tensor {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A safetensors file that cannot be read.
    #[error(transparent)]
    Safetensors(#[from] TensorFileError),
    /// The file cannot be digested.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Two tensors with one name, once their prefixes are off.
    #[error("`{first}` and `{second}` of `{path}` are both `{name}` without their prefixes")]
    Collision {
        /// The file.
        path: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// What both are called.
        name: String,
    },
    /// A buffer of the normalisation that is neither one value nor one a channel.
    #[error(
        "`{name}` of `{path}` has {found} values, expected 1 or {channels}, one a channel ({flag} \
         says it instead)"
    )]
    Statistic {
        /// The file.
        path: String,
        /// The buffer.
        name: String,
        /// Channels of an image.
        channels: usize,
        /// What the buffer has.
        found: usize,
        /// The flag that comes before the file.
        flag: &'static str,
    },
    /// Two buffers that contradict each other.
    #[error("`{first}` and `{second}` of `{path}` differ, expected one of them ({flag} decides)")]
    Statistics {
        /// The file.
        path: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// The flag that comes before the file.
        flag: &'static str,
    },
    /// Half of a normalisation.
    #[error("`{path}` keeps `{name}` of a normalisation and not the other half, expected {flag}")]
    HalfNormalised {
        /// The file.
        path: String,
        /// The buffer that is there.
        name: String,
        /// The flag for what is not.
        flag: &'static str,
    },
    /// The last layer, which tells the number of classes, is not in the file.
    #[error(
        "`{path}` has no `{name}`, which would tell the number of classes of `{arch}`; it has \
         {found} (is it another architecture?)"
    )]
    NoHead {
        /// The file.
        path: String,
        /// The architecture that was asked for.
        arch: String,
        /// The weight that is missing.
        name: String,
        /// The names that there are, in short.
        found: String,
    },
    /// More or fewer names than classes.
    #[error("expected {expected} class names for the last layer of `{path}`, found {found}")]
    Classes {
        /// The file.
        path: String,
        /// Rows of the last layer's weight.
        expected: usize,
        /// Names given.
        found: usize,
    },
    /// The architecture cannot be built.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// The tensors are not those of the architecture.
    #[error("`{path}` does not fit `{arch}`{}", but_fits(*.other))]
    Apply {
        /// The file.
        path: String,
        /// The architecture that was asked for.
        arch: String,
        /// The architecture whose tensors they are.
        other: Option<&'static str>,
        /// What does not fit.
        #[source]
        source: ApplyError,
    },
}

fn but_fits(other: Option<&str>) -> String {
    other.map(|other| format!(" but fits `{other}`")).unwrap_or_default()
}

/// The tensors of a foreign file.
struct Foreign {
    /// Those that were asked for, under the names they have in the file.
    tensors: TensorMap,
    /// Everything else, by name.
    others: Vec<String>,
    /// Those of them that are made of something else than tensors, with what that is.
    made_of_others: Vec<(String, value::Foreign)>,
    digest: Digest,
}

/// Reads the tensors of `path` whose name `keep` accepts, recognising the format by content.
fn read(path: &Path, keep: impl Fn(&str) -> bool) -> Result<Foreign, ImportError> {
    if is_safetensors(path)? {
        let (file, others) = tensors::read_where(path, keep)?;
        let (tensors, digest, made_of_others) = (file.tensors, file.digest, Vec::new());
        return Ok(Foreign { tensors, others, made_of_others, digest });
    }
    let mut archive = archive::Archive::open(path)?;
    let state = archive.state_dict()?;
    let (kept, dropped): (Vec<_>, Vec<_>) =
        state.tensors.into_iter().partition(|(name, _)| keep(name));
    let mut others = state.others;
    others.extend(dropped.into_iter().map(|(name, _)| name));
    let (tensors, digest) = (archive.tensors(kept)?, Digest::of_file(path)?);
    Ok(Foreign { tensors, others, made_of_others: state.foreign, digest })
}

/// Whether the file begins as safetensors does: a length and a JSON object.
fn is_safetensors(path: &Path) -> Result<bool, ImportError> {
    use std::io::Read;
    let fail = |source| ImportError::Read { path: path.display().to_string(), source };
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(9).read_to_end(&mut start).map_err(fail)?;
    let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
    Ok(named || start.get(8) == Some(&b'{'))
}

#[cfg(test)]
mod normalisation_tests;
#[cfg(test)]
mod tests;
