//! A model ready to be deployed: a folder of `model.onnx`, `card.json`, `probe.safetensors`.

use std::path::{Path, PathBuf};

use super::{Card, Digest, DigestError, JsonError, Probe, ProbeError, read_json};

/// A bundle on disk, its files checked against the digests in its card.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The folder.
    pub path: PathBuf,
    /// What it says of itself.
    pub card: Card,
}

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The folder lacks a file.
    #[error("`{path}` is not a bundle: it has no `{file}`")]
    Missing {
        /// The folder.
        path: String,
        /// The file.
        file: &'static str,
    },
    /// The card cannot be read.
    #[error(transparent)]
    Card(#[from] JsonError),
    /// A newer format.
    #[error("`{path}` has card format {found}, this version reads {}", Card::FORMAT)]
    Format {
        /// The folder.
        path: String,
        /// Its format.
        found: u32,
    },
    /// A file is not the one that the card was written for.
    #[error("`{path}` was changed: the card says {expected}, found {found}")]
    Changed {
        /// The file.
        path: String,
        /// The digest in the card.
        expected: Digest,
        /// The file's digest.
        found: Digest,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The probe is not valid.
    #[error(transparent)]
    Probe(#[from] ProbeError),
}

impl Bundle {
    /// The model's file name.
    pub const MODEL: &'static str = "model.onnx";
    /// The card's file name, by which a folder is known as a bundle.
    pub const CARD: &'static str = "card.json";
    /// The probe's file name.
    pub const PROBE: &'static str = "probe.safetensors";

    /// Reads the card of a bundle and checks every file against it.
    ///
    /// # Errors
    /// If a file is missing, unreadable or not the one that the card was written for.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        for file in [Self::CARD, Self::MODEL, Self::PROBE] {
            if !path.join(file).is_file() {
                return Err(BundleError::Missing { path: path.display().to_string(), file });
            }
        }
        let card: Card = read_json(&path.join(Self::CARD), "card")?;
        if card.format != Card::FORMAT {
            let found = card.format;
            return Err(BundleError::Format { path: path.display().to_string(), found });
        }
        let bundle = Self { path: path.to_owned(), card };
        for (path, expected) in
            [(bundle.model(), &bundle.card.model), (bundle.probe_path(), &bundle.card.probe)]
        {
            let found = Digest::of_file(&path)?;
            if found != *expected {
                let path = path.display().to_string();
                return Err(BundleError::Changed { path, expected: expected.clone(), found });
            }
        }
        Ok(bundle)
    }

    /// The model's path.
    pub fn model(&self) -> PathBuf {
        self.path.join(Self::MODEL)
    }

    /// The probe's path.
    pub fn probe_path(&self) -> PathBuf {
        self.path.join(Self::PROBE)
    }

    /// The probe.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn probe(&self) -> Result<Probe, BundleError> {
        Ok(Probe::read(&self.probe_path())?.0)
    }
}
