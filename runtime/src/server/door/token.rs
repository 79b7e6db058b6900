//! Bearer tokens: read from a file, compared in constant time, never shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use rift_models::artifact::Digest;
use subtle::ConstantTimeEq;

use super::DoorError;
use super::watched::Stamp;

/// The shortest token.
pub(super) const SHORTEST: usize = 16;

/// The tokens that open the door.
pub(in crate::server) struct Tokens {
    path: PathBuf,
    /// Digests, all of one length, so that a comparison shows nothing of a token, not even its length.
    digests: RwLock<Vec<Digest>>,
    seen: Mutex<Stamp>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads a file of tokens, one a line.
    pub(super) fn read(path: &Path) -> Result<Self, DoorError> {
        let path = path.to_owned();
        let seen = Mutex::new(Stamp::of([&path]));
        let digests = RwLock::new(digests(&path)?);
        Ok(Self { path, digests, seen })
    }

    /// Whether it is one of them.
    pub(in crate::server) fn has(&self, token: &[u8]) -> bool {
        let digest = Digest::of_bytes(token);
        let digests = self.digests.read().unwrap_or_else(PoisonError::into_inner);
        // Every one is compared, whichever it is.
        let is_equal = |known: &Digest| known.as_str().as_bytes().ct_eq(digest.as_str().as_bytes());
        let none = subtle::Choice::from(0);
        digests.iter().map(is_equal).fold(none, |found, one| found | one).into()
    }

    /// Reads the file again if it has changed; one that cannot be used changes nothing.
    pub(super) fn follow(&self) {
        let now = Stamp::of([&self.path]);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        match digests(&self.path) {
            Ok(digests) => {
                *self.digests.write().unwrap_or_else(PoisonError::into_inner) = digests;
                tracing::info!("the tokens have been read again");
            }
            Err(error) => tracing::error!(%error, "the old tokens stay valid"),
        }
    }
}

fn digests(path: &Path) -> Result<Vec<Digest>, DoorError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| DoorError::Read { path: name(), reason: error.to_string() })?;
    let tokens: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found = tokens.iter().map(|token| token.len()).min().unwrap_or(0);
    if found < SHORTEST {
        return Err(DoorError::Token { path: name(), found });
    }
    Ok(tokens.iter().map(|token| Digest::of_bytes(token.as_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_again_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let (one, other) = ("0123456789abcdef", "the other one is longer");
        std::fs::write(&path, format!("{one}\n\n  {other}\n")).unwrap();
        let tokens = Tokens::read(&path).unwrap();
        assert!(tokens.has(one.as_bytes()) && tokens.has(other.as_bytes()));
        for wrong in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef "] {
            assert!(!tokens.has(wrong.as_bytes()), "{wrong}");
        }
        let shown = format!("{tokens:?}");
        assert!(!shown.contains(one), "{shown}");
        std::fs::write(&path, "short").unwrap();
        tokens.follow();
        assert!(tokens.has(one.as_bytes()));
        std::fs::write(&path, other).unwrap();
        tokens.follow();
        assert!(!tokens.has(one.as_bytes()) && tokens.has(other.as_bytes()));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(Tokens::read(&path), Err(DoorError::Token { found: 0, .. })));
    }
}
