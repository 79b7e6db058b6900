//! Signatures over models and over what is said of them.
//!
//! A [`Statement`] names files by their digests; an [`Envelope`] signs it with an ECDSA key on the
//! curve P-256. The statement of a model's files is the one of the OpenSSF model-signing format
//! ([`model`]), so that the Python package `model-signing` accepts what is signed here, and the other
//! way round.
//!
//! # References
//! in-toto Attestation Framework, Statement v1, <https://github.com/in-toto/attestation>; DSSE 1.0.2,
//! <https://github.com/secure-systems-lab/dsse>; OpenSSF model signing,
//! <https://github.com/sigstore/model-transparency>.

mod envelope;
mod key;
pub mod model;
mod statement;

pub use envelope::Envelope;
pub use key::{PrivateKey, PublicKey};
pub use statement::{Resource, Statement};

use std::fmt;

use crate::artifact::atomic::AtomicError;
use crate::artifact::{Digest, DigestError};

/// A signature that was not made or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be digested.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A key is not one that can be used.
    #[error("`{path}` holds no usable key: expected {expected}, found {found}")]
    Key {
        /// The file.
        path: String,
        /// What is needed.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A file is no signature, or one of a kind that is not known here.
    #[error("`{path}` is not a usable signature: expected {expected}, found {found}")]
    Format {
        /// The file.
        path: String,
        /// What is needed.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A folder holds what cannot be signed.
    #[error("`{path}` cannot be signed: {what}")]
    Content {
        /// The folder or file.
        path: String,
        /// What it holds.
        what: String,
    },
    /// Nothing was written.
    #[error(transparent)]
    Write(#[from] AtomicError),
    /// The answer is no.
    #[error("the signature does not hold: {0}")]
    DoesNotHold(Mismatch),
}

/// Why a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It was made with another key than the one it is held against.
    Key,
    /// Its bytes are not those that the key signed.
    Forged,
    /// It is over something else than files.
    Kind(String),
    /// Files differ from those that were signed.
    Files(Vec<Difference>),
    /// It says something of another file.
    Subject {
        /// The file.
        path: String,
        /// Its digest.
        digest: Digest,
    },
}

/// How a file differs from what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Its bytes were changed.
    Changed(String),
    /// It is gone.
    Missing(String),
    /// It was not there, or was left out of the signature.
    Unsigned(String),
    /// It is a link or a device, which no signature covers.
    NotPlain(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("it was made with another key"),
            Self::Forged => f.write_str("the key did not sign these bytes"),
            Self::Kind(found) => {
                write!(f, "it is not of the files of a bundle but a statement of type `{found}`")
            }
            Self::Files(differences) => {
                let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(", "))
            }
            Self::Subject { path, digest } => {
                write!(f, "it says nothing of `{path}` with sha256 {}", digest.short())
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(file) => write!(f, "`{file}` was changed"),
            Self::Missing(file) => write!(f, "`{file}` is missing"),
            Self::Unsigned(file) => write!(f, "`{file}` is not signed"),
            Self::NotPlain(file) => write!(f, "`{file}` is not a plain file"),
        }
    }
}
