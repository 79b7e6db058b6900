//! Only what the holder of a key has signed.

use std::path::Path;

use rift_models::artifact::{Bundle, Digest};
use rift_models::signature::{
    Difference, Envelope, Mismatch, PublicKey, SignatureError, model as files,
};

use crate::session::ModelFile;

/// Who must have signed a model.
#[derive(Clone, Debug)]
pub struct Signatory {
    key: PublicKey,
}

/// A model that does not bear the signature that is asked for.
#[derive(Debug, thiserror::Error)]
pub enum UnsignedError {
    /// A file alone has no place for a signature.
    #[error(
        "`{path}` bears no signature: expected a bundle with a `{}`, found a bare file \
         (`rift-exporter export` makes a bundle, `rift-exporter sign` signs it)",
        Bundle::SIGNATURE
    )]
    Bare {
        /// The file.
        path: String,
    },
    /// Nobody signed the bundle.
    #[error(
        "`{path}` bears no signature: it has no `{}` (`rift-exporter sign` writes it)",
        Bundle::SIGNATURE
    )]
    Unsigned {
        /// The bundle.
        path: String,
    },
    /// The signature does not hold, or cannot be read.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Signatory {
    /// Who has the private key to `key`.
    pub fn new(key: PublicKey) -> Self {
        Self { key }
    }

    /// Lets a model pass if its bundle, every file of it, is what was signed.
    ///
    /// The files on the disk may change meanwhile. So the signature is held against what was read before
    /// and is going to be opened: the model, and the card, which names the probe by its digest.
    pub(super) fn check(&self, file: &ModelFile) -> Result<(), UnsignedError> {
        let path = |path: &Path| path.display().to_string();
        let bundle =
            file.bundle().ok_or_else(|| UnsignedError::Bare { path: path(file.path()) })?;
        let signature = bundle.path.join(Bundle::SIGNATURE);
        if !signature.is_file() {
            return Err(UnsignedError::Unsigned { path: path(file.path()) });
        }
        let statement = Envelope::read(&signature)?.verify(&self.key, &signature)?;
        files::compare(&bundle.path, &statement, &signature)?;
        let model = Digest::of_bytes(file.bytes());
        for (name, digest) in [(Bundle::MODEL, &model), (Bundle::CARD, &bundle.card_digest)] {
            if !files::lists(&statement, name, digest) {
                let changed = vec![Difference::Changed(name.to_owned())];
                return Err(SignatureError::DoesNotHold(Mismatch::Files(changed)).into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rift_models::signature::PrivateKey;

    use super::*;
    use crate::small_models::{bundle, conv_net, linear_net};

    /// Signs what lies in a bundle.
    fn sign(path: &Path, key: &PrivateKey) {
        let signature = path.join(Bundle::SIGNATURE);
        let statement = files::describe(path, &signature).unwrap();
        let signed = Envelope::sign(&statement, key).to_bundle(&key.public());
        fs::write(signature, signed.to_string()).unwrap();
    }

    #[test]
    fn what_was_read_before_the_files_were_replaced_does_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = bundle(folder.path(), &linear_net());
        let read = ModelFile::read(&path).unwrap();
        let key = PrivateKey::generate();
        let signatory = Signatory::new(key.public());
        sign(&path, &key);
        signatory.check(&read).unwrap();
        // Between the look at the files and that at the signature somebody puts good ones there.
        fs::remove_file(path.join(Bundle::SIGNATURE)).unwrap();
        let good = bundle(folder.path(), &conv_net(None));
        sign(&good, &key);
        signatory.check(&ModelFile::read(&good).unwrap()).unwrap();
        let error = signatory.check(&read).unwrap_err().to_string();
        assert!(error.contains("`model.onnx` was changed"), "{error}");
        let card = ModelFile::read(&good).unwrap();
        let text = fs::read_to_string(good.join(Bundle::CARD)).unwrap();
        fs::write(good.join(Bundle::CARD), text + "\n").unwrap();
        sign(&good, &key);
        let error = signatory.check(&card).unwrap_err().to_string();
        assert!(error.contains("`card.json` was changed"), "{error}");
    }
}
