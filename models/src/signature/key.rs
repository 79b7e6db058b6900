//! ECDSA keys on the curve P-256 in PEM files, as OpenSSL writes them.

use std::fs;
use std::io::Write;
use std::path::Path;

use p256::SecretKey;
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};

use super::SignatureError;
use crate::artifact::Digest;
use crate::artifact::atomic::{self, AtomicError};

/// A key that signs.
pub struct PrivateKey(SigningKey);

/// The key that tells whether the private key of the same pair signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PrivateKey {
    /// A new key from the system's source of randomness.
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// Reads a PEM file: PKCS#8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`), without a password.
    ///
    /// # Errors
    /// If the file cannot be read or holds no such key.
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        let text = read(path)?;
        let pem = block(&text);
        match SecretKey::from_pem(pem) {
            Ok(secret) => Ok(Self(secret.into())),
            Err(_) => Err(unusable(path, "a private key on the curve P-256 in PEM", pem)),
        }
    }

    /// Writes the key as PKCS#8 in PEM for its owner's eyes alone; a file that is there stays.
    ///
    /// # Errors
    /// If there is a file or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), AtomicError> {
        let attempt = || -> std::io::Result<()> {
            let pem = self.0.to_pkcs8_pem(LineEnding::LF).map_err(std::io::Error::other)?;
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()
        };
        attempt().map_err(|source| AtomicError::new(path, source))
    }

    /// The other key of the pair.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// Signs with SHA-256, deterministically (RFC 6979); returns the signature in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(message);
        signature.as_bytes().to_vec()
    }
}

impl PublicKey {
    /// Reads a PEM file: `PUBLIC KEY`.
    ///
    /// # Errors
    /// If the file cannot be read or holds no such key.
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        let text = read(path)?;
        let pem = block(&text);
        VerifyingKey::from_public_key_pem(pem)
            .map(Self)
            .map_err(|_| unusable(path, "a public key on the curve P-256 in PEM", pem))
    }

    /// Writes the key as PEM.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), AtomicError> {
        atomic::write(path, self.to_pem().as_bytes()).map(drop)
    }

    /// By what a signature says which key it is for: the digest of the key's PEM, in hexadecimal.
    pub fn hint(&self) -> String {
        Digest::of_bytes(self.to_pem().as_bytes()).hex().to_owned()
    }

    fn to_pem(&self) -> String {
        // A point on the curve always has an encoding.
        self.0.to_public_key_pem(LineEnding::LF).unwrap_or_default()
    }

    /// Whether `signature`, in DER, is of `message` by this key's private one.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature)
            .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

/// A key is a few hundred bytes: what is longer is none.
const LONGEST: u64 = 1 << 16;

fn read(path: &Path) -> Result<String, SignatureError> {
    let failed = |source| SignatureError::Read { path: path.display().to_string(), source };
    let found = fs::metadata(path).map_err(failed)?;
    if found.len() > LONGEST {
        let found = format!("{} bytes", found.len());
        let path = path.display().to_string();
        return Err(SignatureError::Key { path, expected: "a key in PEM", found });
    }
    let bytes = fs::read(path).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first PEM block that is not the name of a curve, which OpenSSL puts before a key.
fn block(text: &str) -> &str {
    let starts = text.match_indices("-----BEGIN ").map(|(at, _)| &text[at..]);
    let mut keys = starts.filter(|block| !block.starts_with("-----BEGIN EC PARAMETERS"));
    keys.next().unwrap_or(text)
}

fn unusable(path: &Path, expected: &'static str, pem: &str) -> SignatureError {
    let label = pem.strip_prefix("-----BEGIN ").and_then(|rest| rest.split("-----").next());
    let found = match label {
        None => "no PEM".to_owned(),
        Some(label) if label.contains("ENCRYPTED") => {
            format!("`{label}`: `openssl pkey -in FILE` takes its password off")
        }
        Some(label) => format!("`{label}`, damaged or of another kind"),
    };
    SignatureError::Key { path: path.display().to_string(), expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_signs_and_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let [private, public] = ["k.key", "k.pub"].map(|name| folder.path().join(name));
        let key = PrivateKey::generate();
        key.write(&private).unwrap();
        key.public().write(&public).unwrap();
        assert!(key.write(&private).is_err(), "a key is not overwritten");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let key = PrivateKey::read(&private).unwrap();
        let public = PublicKey::read(&public).unwrap();
        assert_eq!(public, key.public());
        let signature = key.sign(b"message");
        assert_eq!(signature, key.sign(b"message"));
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!public.verifies(b"message", &signature[1..]));
        assert!(!PrivateKey::generate().public().verifies(b"message", &signature));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let key = PrivateKey::generate();
        key.write(&path).unwrap();
        let error = PublicKey::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("expected a public key") && error.contains("`PRIVATE KEY`"),
            "{error}"
        );
        key.public().write(&path).unwrap();
        let error = PrivateKey::read(&path).err().unwrap().to_string();
        assert!(error.contains("expected a private key"), "{error}");
        fs::write(&path, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
        assert!(PrivateKey::read(&path).err().unwrap().to_string().contains("password"));
        for bytes in [&b""[..], b"\xff\xfe", &vec![b'a'; 70_000]] {
            fs::write(&path, bytes).unwrap();
            assert!(PrivateKey::read(&path).is_err() && PublicKey::read(&path).is_err());
        }
    }
}
