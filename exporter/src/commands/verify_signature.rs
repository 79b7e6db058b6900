//! `rift-exporter verify-signature`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use rift_models::artifact::{Bundle, Digest, archive};
use rift_models::onnx::{MAX_BYTES, with_external_data};
use rift_models::signature::{Envelope, Mismatch, PublicKey, SignatureError, Statement, model};

use super::{Answer, attest, sign};
use crate::attestation;
use crate::cli::VerifySignature;

/// Holds what was signed against its signature.
pub(super) fn run(settings: &VerifySignature) -> anyhow::Result<Answer> {
    match verify(settings) {
        Ok(text) => Ok(Answer::Yes(text)),
        Err(error) => match error.downcast_ref() {
            Some(SignatureError::DoesNotHold(_)) => Ok(Answer::Refused(error.to_string())),
            _ => Err(error),
        },
    }
}

fn verify(settings: &VerifySignature) -> anyhow::Result<String> {
    let key = PublicKey::read(&settings.key)?;
    ensure!(settings.what.exists(), "cannot read `{}`: it is not there", settings.what.display());
    let signed = Signed::find(&settings.what, settings.signature.as_deref())?;
    ensure!(
        signed.signature.exists(),
        "there is no signature `{}`: `sign` or `attest` writes it, `--signature` names another",
        signed.signature.display()
    );
    // An archive beside its signature is not unpacked before the signature holds.
    let statement = Envelope::read(&signed.signature)?.verify(&key, &signed.signature)?;
    // Where a bundle's own signature is to lie, nothing else counts: a signed audit is of one file.
    if settings.signature.is_none()
        && is_bundle(&settings.what)
        && statement.predicate_type != model::PREDICATE_TYPE
    {
        return Err(SignatureError::DoesNotHold(Mismatch::Kind(statement.predicate_type)).into());
    }
    let (verb, object) = if statement.predicate_type == attestation::PREDICATE_TYPE {
        signed.hold_audit(&statement)?;
        ("states", attestation::summary(&statement).unwrap_or_default())
    } else {
        ("covers", signed.hold_files(&statement)?)
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "signature {}", signed.name());
    let _ = writeln!(text, "key       {}", &key.hint()[..12]);
    let _ = writeln!(text, "{verb}    {object}\nthe signature holds");
    Ok(text)
}

/// What was signed, and the file of its signature.
struct Signed<'a> {
    what: &'a Path,
    signature: PathBuf,
    /// The bundle in an archive, where the signature is in it.
    unpacked: Option<Bundle>,
}

impl<'a> Signed<'a> {
    fn find(what: &'a Path, named: Option<&Path>) -> anyhow::Result<Self> {
        let signature = match named {
            Some(named) => named.to_owned(),
            None if is_bundle(what) => sign::place(what),
            None if is_signature(what) => what.to_owned(),
            None => attest::place(what),
        };
        if named.is_none() && archive::is_archive(what) && !signature.is_file() {
            let bundle = Bundle::open_unchecked(what)?;
            let inside = bundle.path.join(Bundle::SIGNATURE);
            if inside.is_file() {
                return Ok(Self { what, signature: inside, unpacked: Some(bundle) });
            }
        }
        Ok(Self { what, signature, unpacked: None })
    }

    /// The signature as a user knows it.
    fn name(&self) -> String {
        match &self.unpacked {
            Some(_) => format!("{} in {}", Bundle::SIGNATURE, self.what.display()),
            None => self.signature.display().to_string(),
        }
    }

    /// Holds all files against the statement about them; returns how many there are.
    fn hold_files(&self, statement: &Statement) -> anyhow::Result<String> {
        let (what, signature) = (self.what, self.signature.as_path());
        if what == signature {
            bail!(
                "`{}` is a model's signature: name the model, and this by `--signature`",
                what.display()
            );
        }
        let files = if let Some(bundle) = &self.unpacked {
            model::compare(&bundle.path, statement, signature)?
        } else if archive::is_archive(what) && !model::is_of_a_single_file(statement) {
            model::compare(&Bundle::open_unchecked(what)?.path, statement, signature)?
        } else {
            model::compare(what, statement, signature)?
        };
        Ok(match files {
            1 => "1 file".to_owned(),
            files => format!("{files} files"),
        })
    }

    /// Whether an audit's statement is about this bundle or this report, or just holds by itself.
    fn hold_audit(&self, statement: &Statement) -> anyhow::Result<()> {
        if self.what == self.signature {
            return Ok(());
        }
        let digest = if is_bundle(self.what) {
            Digest::of_file(&Bundle::open_unchecked(self.what)?.model())?
        } else {
            Digest::of_file(self.what)?
        };
        let holds = attestation::is_of_model(statement, &digest)
            || attestation::is_of_report(statement, &digest)
            || self.as_audited().is_some_and(|model| attestation::is_of_model(statement, &model));
        if !holds {
            let path = self.what.display().to_string();
            return Err(SignatureError::DoesNotHold(Mismatch::Subject { path, digest }).into());
        }
        Ok(())
    }
}

impl Signed<'_> {
    /// The digest that an audit has of an ONNX file: with the numbers that lie beside it.
    fn as_audited(&self) -> Option<Digest> {
        let is_model = self.what.extension().is_some_and(|ending| ending == "onnx");
        let bytes = is_model.then(|| fs::read(self.what).ok()).flatten()?;
        let whole = with_external_data(bytes, self.what, MAX_BYTES).ok()?;
        Some(Digest::of_bytes(&whole))
    }
}

/// Whether what was signed is a folder or an archive.
fn is_bundle(what: &Path) -> bool {
    what.is_dir() || archive::is_archive(what)
}

/// Whether a file is a signature rather than something that was signed.
fn is_signature(path: &Path) -> bool {
    path.to_string_lossy().ends_with(attest::SUFFIX) || Envelope::read(path).is_ok()
}
