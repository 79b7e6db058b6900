//! TLS: the server's certificate, and the clients' where it asks for them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::watched::Stamp;
use super::{DoorError, Language, TlsFiles};

/// The keys, as their files are now.
pub(in crate::server) struct Tls {
    files: TlsFiles,
    language: Language,
    config: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Stamp>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the keys.
    pub(super) fn read(files: TlsFiles, language: Language) -> Result<Self, DoorError> {
        let seen = Mutex::new(Stamp::of(paths(&files)));
        let config = RwLock::new(Arc::new(config(&files, language)?));
        Ok(Self { files, language, config, seen })
    }

    /// What greets the next client.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner)).into()
    }

    /// Reads the keys again if they have changed; those that cannot be used change nothing.
    pub(super) fn follow(&self) {
        let now = Stamp::of(paths(&self.files));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        match config(&self.files, self.language) {
            Ok(config) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!("the files of TLS have been read again");
            }
            // One of two files may be new already: the next look finds both.
            Err(error) => tracing::error!(%error, "the old certificate stays in use"),
        }
    }
}

fn paths(files: &TlsFiles) -> impl Iterator<Item = &PathBuf> {
    [&files.certificate, &files.key].into_iter().chain(&files.client_authority)
}

fn config(files: &TlsFiles, language: Language) -> Result<ServerConfig, DoorError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &files.client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let bad = |reason: String| {
                let path = path.display().to_string();
                DoorError::Authority { path, reason }
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| bad(error.to_string()))?)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable(&files.key, error.to_string()))?;
    let mut config = builder.with_single_cert(certificates(&files.certificate)?, key)?;
    let protocol = match language {
        Language::Http => "http/1.1",
        Language::Grpc => "h2",
    };
    config.alpn_protocols = vec![protocol.into()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DoorError> {
    let bad =
        |error: tokio_rustls::rustls::pki_types::pem::Error| unreadable(path, error.to_string());
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(bad)?.collect::<Result<_, _>>().map_err(bad)?;
    if found.is_empty() {
        return Err(unreadable(path, "no certificate in PEM is in it".to_owned()));
    }
    Ok(found)
}

fn unreadable(path: &Path, reason: String) -> DoorError {
    DoorError::Read { path: path.display().to_string(), reason }
}
