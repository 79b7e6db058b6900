//! A model ready to be deployed: a folder of `model.onnx`, `card.json`, `probe.safetensors`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::archive::{self, ArchiveError};
use super::atomic::{AtomicError, StagedFolder};
use super::{Card, Digest, DigestError, JsonError, Probe, ProbeError, read_json_of};

/// A bundle on disk, its files checked against the digests in its card.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The folder; of an archive, where it was unpacked.
    pub path: PathBuf,
    /// What it says of itself.
    pub card: Card,
    /// The digest of the card's file as it was read.
    pub card_digest: Digest,
    /// Keeps the folder of an archive as long as anybody has the bundle.
    _unpacked: Option<Arc<TempDir>>,
}

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
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
    /// The optimised model's file name.
    pub const OPTIMIZED: &'static str = "optimized.onnx";
    /// The signature's file name, that of OpenSSF model signing.
    pub const SIGNATURE: &'static str = "model.sig";

    /// The page for people.
    pub const PAGE: &'static str = "README.md";
    /// The bill of materials' file name, which ends as programs expect it.
    pub const BILL: &'static str = "bom.cdx.json";
    /// The file name of the list of operators that a runtime for the optimised model needs.
    pub const OPERATORS: &'static str = "required_operators.config";

    /// Every file that may be in a bundle, the one by which it is known first.
    pub const ALL: [&'static str; 8] = [
        Self::CARD,
        Self::MODEL,
        Self::PROBE,
        Self::PAGE,
        Self::BILL,
        Self::OPTIMIZED,
        Self::OPERATORS,
        Self::SIGNATURE,
    ];
    /// The files that programs act on.
    pub const FILES: [&'static str; 4] = [Self::MODEL, Self::CARD, Self::PROBE, Self::OPTIMIZED];

    /// Reads the card of a bundle, a folder or an archive ([`archive::SUFFIX`]), and checks every
    /// file against it.
    ///
    /// # Errors
    /// If a file is missing, unreadable or not the one that the card was written for.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let bundle = Self::open_unchecked(path)?;
        let card = &bundle.card;
        let optimized = card.optimized.as_ref().map(|of_card| (bundle.optimized(), &of_card.model));
        let files = [(bundle.model(), &card.model), (bundle.probe_path(), &card.probe)];
        for (path, expected) in files.into_iter().chain(optimized) {
            let found = Digest::of_file(&path)?;
            if found != *expected {
                let path = path.display().to_string();
                return Err(BundleError::Changed { path, expected: expected.clone(), found });
            }
        }
        Ok(bundle)
    }

    /// Reads the card of a bundle and does not look whether the files are those that it was written
    /// for.
    ///
    /// # Errors
    /// If a file is missing or the card cannot be read.
    pub fn open_unchecked(path: &Path) -> Result<Self, BundleError> {
        let unpacked =
            if archive::is_archive(path) { Some(Arc::new(archive::unpack(path)?)) } else { None };
        let folder = unpacked.as_ref().map_or(path, |folder| folder.path());
        for file in [Self::CARD, Self::MODEL, Self::PROBE] {
            if !folder.join(file).is_file() {
                return Err(BundleError::Missing { path: path.display().to_string(), file });
            }
        }
        let (card, card_digest): (Card, _) = read_json_of(&folder.join(Self::CARD), "card")?;
        if card.format != Card::FORMAT {
            let found = card.format;
            return Err(BundleError::Format { path: path.display().to_string(), found });
        }
        Ok(Self { path: folder.to_owned(), card, card_digest, _unpacked: unpacked })
    }

    /// Starts a bundle that will become `target`, replacing an older one there.
    ///
    /// # Errors
    /// If something else is there, or a file that is no bundle's lies in it.
    pub fn stage(target: &Path) -> Result<StagedFolder, AtomicError> {
        StagedFolder::new(target, &Self::ALL)
    }

    /// The model's path.
    pub fn model(&self) -> PathBuf {
        self.path.join(Self::MODEL)
    }

    /// The optimised model's path.
    pub fn optimized(&self) -> PathBuf {
        self.path.join(Self::OPTIMIZED)
    }

    /// The probe's path.
    pub fn probe_path(&self) -> PathBuf {
        self.path.join(Self::PROBE)
    }

    /// The probe.
    ///
    /// # Errors
    /// If it is not valid, or not the one that the card was written for.
    pub fn probe(&self) -> Result<Probe, BundleError> {
        let path = self.probe_path();
        let (probe, found) = Probe::read(&path)?;
        let expected = &self.card.probe;
        if found != *expected {
            let path = path.display().to_string();
            return Err(BundleError::Changed { path, expected: expected.clone(), found });
        }
        Ok(probe)
    }
}
