//! Who comes in, and how.
//!
//! Without a word the server listens to its own machine alone. Others come in by a token or by a
//! certificate that the operator's authority has signed, or by nothing at all if the operator says so.

mod guard;
pub(super) mod listener;
mod patience;
mod tls;
mod token;
mod watched;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use guard::{Known, admit, guard};
use tls::Tls;
use token::Tokens;

/// How often files of keys and tokens are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What is spoken at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// HTTP/1.1.
    Http,
    /// gRPC, over HTTP/2.
    Grpc,
}

/// Who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    /// Others than this machine.
    pub allow_remote: bool,
    /// Even without token and certificate.
    pub insecure: bool,
    /// Tokens that are asked for, one a line.
    pub token_file: Option<PathBuf>,
    /// Encryption.
    pub tls: Option<TlsFiles>,
}

/// The files of TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose clients are let in; all clients without.
    pub client_authority: Option<PathBuf>,
}

/// A door that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Anybody could come in.
    #[error(
        "`{address}` is open to other machines: expected `--allow-remote` with `--token-file` or \
         `--tls-client-ca`, or `--insecure` if everybody may come in"
    )]
    Open {
        /// Where the server would listen.
        address: SocketAddr,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}`: {reason}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A file of tokens has none that can be used.
    #[error(
        "`{path}` has a token of {found} characters, expected at least {} a line, for instance from \
         `openssl rand -hex 32`",
        token::SHORTEST
    )]
    Token {
        /// The file.
        path: String,
        /// The length of the shortest token.
        found: usize,
    },
    /// The files do not fit each other or hold something else.
    #[error("cannot use the files of TLS: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The clients' authority cannot be used.
    #[error("cannot use the clients' authority `{path}`: {reason}")]
    Authority {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// What stands between a client and the server.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) tokens: Option<Tokens>,
    pub(super) tls: Option<Tls>,
    /// Whether only this machine comes in.
    pub(super) is_local: bool,
    language: Language,
}

impl Door {
    /// A door at `address` for those who speak `language`.
    pub(super) fn open(
        address: SocketAddr,
        entrance: &Entrance,
        language: Language,
    ) -> Result<Self, DoorError> {
        let is_local = address.ip().is_loopback();
        let asks_for = entrance.token_file.is_some()
            || entrance.tls.as_ref().is_some_and(|tls| tls.client_authority.is_some());
        let is_guarded = entrance.allow_remote && asks_for;
        if !(is_local || is_guarded || entrance.insecure) {
            return Err(DoorError::Open { address });
        }
        let tokens = entrance.token_file.as_deref().map(Tokens::read).transpose()?;
        let tls = entrance.tls.clone().map(|files| Tls::read(files, language)).transpose()?;
        if !is_local && tls.is_none() {
            tracing::warn!(%address, "what passes is not encrypted, expected `--tls-cert` and `--tls-key`");
        }
        Ok(Self { tokens, tls, is_local, language })
    }

    /// Follows its files as they change, for ever.
    pub(super) async fn follow(&self) {
        if self.tokens.is_none() && self.tls.is_none() {
            return std::future::pending().await;
        }
        let mut interval = tokio::time::interval(LOOK);
        loop {
            interval.tick().await;
            if let Some(tokens) = &self.tokens {
                tokens.follow();
            }
            if let Some(tls) = &self.tls {
                tls.follow();
            }
        }
    }
}
