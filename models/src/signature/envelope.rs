//! Envelopes: a statement with its signature (DSSE), bare or inside a Sigstore bundle.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Mismatch, PrivateKey, PublicKey, SignatureError, Statement};

/// What every payload here is.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// What a Sigstore bundle says that it is, in the version that is written here.
const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The longest signature file that is read: a name and a digest for each of some 100,000 files.
const LONGEST: u64 = 32 << 20;

/// A statement with its signature, as it is signed (Dead Simple Signing Envelope).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

/// As much of a Sigstore bundle as a key needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<Identifier>,
}

#[derive(Deserialize)]
struct Identifier {
    hint: Option<String>,
}

impl Envelope {
    /// Signs a statement; the same statement and key give the same envelope.
    pub fn sign(statement: &Statement, key: &PrivateKey) -> Self {
        // A value of texts, numbers and lists always has JSON.
        let payload = serde_json::to_vec(statement).unwrap_or_default();
        let signature = key.sign(&pre_authentication_encoding(PAYLOAD_TYPE, &payload));
        Self {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature {
                sig: STANDARD.encode(signature),
                keyid: key.public().hint(),
            }],
        }
    }

    /// The envelope inside a Sigstore bundle, the form of a model's signature.
    pub fn to_bundle(&self, key: &PublicKey) -> Value {
        json!({
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": { "publicKey": { "hint": key.hint() }, "tlogEntries": [] },
            "dsseEnvelope": self,
        })
    }

    /// Reads an envelope, bare or inside a Sigstore bundle that was signed with a key.
    ///
    /// # Errors
    /// If the file cannot be read or holds none.
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        let failed = |source| SignatureError::Read { path: path.display().to_string(), source };
        let wrong = |expected, found: String| SignatureError::Format {
            path: path.display().to_string(),
            expected,
            found,
        };
        let length = std::fs::metadata(path).map_err(failed)?.len();
        if length > LONGEST {
            return Err(wrong("at most 32 MiB", format!("{length} bytes")));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let not_json = |error: serde_json::Error| wrong("its JSON", error.to_string());
        let value: Value = serde_json::from_slice(&bytes).map_err(not_json)?;
        if value.get("dsseEnvelope").is_none() {
            return serde_json::from_value(value).map_err(not_json);
        }
        let bundle: Bundle = serde_json::from_value(value).map_err(not_json)?;
        if bundle.media_type != BUNDLE_TYPE {
            return Err(wrong(BUNDLE_TYPE, format!("`{}`", bundle.media_type)));
        }
        let Some(key) = bundle.verification_material.public_key else {
            return Err(wrong("one by a key", "one by a certificate".to_owned()));
        };
        let mut envelope = bundle.dsse_envelope;
        // Only the signature itself tells who made it; the hint tells a wrong key from a forgery.
        if let (Some(hint), Some(first)) = (key.hint, envelope.signatures.first_mut()) {
            first.keyid = hint;
        }
        Ok(envelope)
    }

    /// The statement, if `key` signed it; `path` names the file in errors.
    ///
    /// # Errors
    /// If another key signed it, nobody did, or it is no statement.
    pub fn verify(&self, key: &PublicKey, path: &Path) -> Result<Statement, SignatureError> {
        let wrong = |expected, found: &str| SignatureError::Format {
            path: path.display().to_string(),
            expected,
            found: found.to_owned(),
        };
        if self.payload_type != PAYLOAD_TYPE {
            return Err(wrong(PAYLOAD_TYPE, &format!("`{}`", self.payload_type)));
        }
        let payload = decode(&self.payload).ok_or_else(|| wrong("base64", "another payload"))?;
        if self.signatures.is_empty() {
            return Err(wrong("a signature", "none"));
        }
        let message = pre_authentication_encoding(&self.payload_type, &payload);
        let by_key = |signature: &Signature| {
            decode(&signature.sig).is_some_and(|bytes| key.verifies(&message, &bytes))
        };
        if !self.signatures.iter().any(by_key) {
            let hint = key.hint();
            let is_hint = |keyid: &str| keyid.len() == hint.len() && keyid != hint;
            let other = self.signatures.iter().all(|signature| is_hint(&signature.keyid));
            let why = if other { Mismatch::Key } else { Mismatch::Forged };
            return Err(SignatureError::DoesNotHold(why));
        }
        let statement: Statement = serde_json::from_slice(&payload)
            .map_err(|error| wrong("a statement", &error.to_string()))?;
        if statement.kind != Statement::TYPE {
            return Err(wrong(Statement::TYPE, &format!("`{}`", statement.kind)));
        }
        Ok(statement)
    }
}

/// What is signed: the payload and its type with their lengths.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Base64 in the standard alphabet or the one for addresses: writers may choose.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Digest;
    use crate::signature::Resource;

    #[test]
    fn the_encoding_is_that_of_the_protocol() {
        // The example of the protocol's own description.
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn no_changed_byte_is_taken_for_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signature");
        let key = PrivateKey::generate();
        let subject = vec![Resource::new("file", &Digest::of_bytes(b"file"))];
        let said = json!({ "said": [1, "ä"] });
        let statement = Statement::new(subject, "https://example.com/said/v1", said);
        let envelope = Envelope::sign(&statement, &key);
        assert_eq!(envelope.verify(&key.public(), &path).unwrap(), statement);
        for file in [json!(envelope), envelope.to_bundle(&key.public())] {
            let good = serde_json::to_vec(&file).unwrap();
            for at in 0..good.len() {
                let mut bytes = good.clone();
                bytes[at] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
                let read = Envelope::read(&path);
                let found = read.and_then(|envelope| envelope.verify(&key.public(), &path));
                assert!(found.is_err() || found.unwrap() == statement, "byte {at}");
            }
        }
    }

    #[test]
    fn a_wrong_key_and_a_forgery_are_told_apart() {
        let path = Path::new("signature");
        let key = PrivateKey::generate();
        let statement = Statement::new(Vec::new(), "type", Value::Null);
        let envelope = Envelope::sign(&statement, &key);
        let other = PrivateKey::generate().public();
        let why = envelope.verify(&other, path).unwrap_err().to_string();
        assert!(why.contains("another key"), "{why}");
        let said = Statement::new(Vec::new(), "another type", Value::Null);
        let forged = Envelope { payload: Envelope::sign(&said, &key).payload, ..envelope };
        let why = forged.verify(&key.public(), path).unwrap_err().to_string();
        assert!(why.contains("did not sign these bytes"), "{why}");
    }
}
