//! SHA-256 digests, by which artifacts name what they were made from.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A SHA-256 digest, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A digest or a file to be digested that is not usable.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The text is no digest.
    #[error("invalid digest `{0}`, expected `sha256:` and 64 hexadecimal digits")]
    Invalid(String),
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Digests what is fed to it piece by piece.
#[derive(Clone, Default)]
pub struct DigestBuilder(sha2::Sha256);

impl DigestBuilder {
    /// Feeds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was fed.
    pub fn finish(self) -> Digest {
        use fmt::Write;
        let mut text = String::from("sha256:");
        for byte in self.0.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text)
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut builder = DigestBuilder::default();
        builder.update(bytes);
        builder.finish()
    }

    /// The digest of a file's contents.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, DigestError> {
        let fail = |source| DigestError::Read { path: path.display().to_string(), source };
        let mut file = std::fs::File::open(path).map_err(fail)?;
        let mut builder = DigestBuilder::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer).map_err(fail)? {
                0 => return Ok(builder.finish()),
                n => builder.update(&buffer[..n]),
            }
        }
    }

    /// The digest of 64 hexadecimal digits.
    ///
    /// # Errors
    /// If they are not.
    pub fn from_hex(hex: &str) -> Result<Self, DigestError> {
        Self::try_from(format!("sha256:{}", hex.to_ascii_lowercase()))
    }

    /// The 64 hexadecimal digits alone.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }

    /// The digest itself.
    pub fn bytes(&self) -> [u8; 32] {
        let digit = |at: usize| match self.hex().as_bytes()[at] {
            letter @ b'a'..=b'f' => letter - b'a' + 10,
            digit => digit - b'0',
        };
        std::array::from_fn(|at| digit(2 * at) << 4 | digit(2 * at + 1))
    }

    /// The first twelve hexadecimal digits, for tables.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }

    /// The text, `sha256:…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text))
        } else {
            Err(DigestError::Invalid(text))
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_standard_vector() {
        let digest = Digest::of_bytes(b"abc");
        assert_eq!(
            digest.as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let bytes = digest.bytes();
        assert_eq!((bytes[0], bytes[1], bytes[31]), (0xba, 0x78, 0xad));
        assert_eq!(Digest::from_hex(&digest.hex().to_uppercase()).unwrap(), digest);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        assert_eq!(Digest::of_file(file.path()).unwrap(), digest);
        assert!(Digest::try_from("sha256:abc".to_owned()).is_err());
        assert!(Digest::of_file(Path::new("/nonexistent")).is_err());
    }
}
