//! Encryption, and certificates of clients.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Serving;
use super::client::Client;
use super::protocol::{INFER, request};
use crate::Place;
use crate::small_models::conv_net;

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(super) fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate that `authority` has signed, and its key.
pub(super) fn write(authority: &Authority, folder: &Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// A client that trusts `authority`, with the certificate of that name if one is given; nothing if
/// the two do not agree.
fn connect(serving: &Serving, authority: &Authority, own: Option<&Path>) -> Option<Client> {
    let config = client_config(authority, own);
    let name = "localhost".try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(serving.address).unwrap();
    connection.complete_io(&mut stream).ok()?;
    Some(Client::over(StreamOwned::new(connection, stream)))
}

/// What a client needs that trusts `authority`, with the certificate of that name if one is given.
pub(super) fn client_config(authority: &Authority, own: Option<&Path>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let certificate = CertificateDer::from_pem_file(path.with_extension("pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(path.with_extension("key")).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    }
}

#[test]
fn what_passes_is_encrypted() {
    let place = Place::with(&conv_net(None));
    let authority = authority();
    write(&authority, place.folder.path(), "server");
    let keys = ["--tls-cert", "server.pem", "--tls-key", "server.key"];
    let serving = Serving::start(&place, &[&["m.onnx"], &keys[..]].concat());
    let mut client = connect(&serving, &authority, None).unwrap();
    while client.get("/v2/health/ready").status != 200 {}
    assert_eq!(client.post(INFER, &request(|_| ())).status, 200);
    assert!(connect(&serving, &self::authority(), None).is_none());
    // Who cannot speak to it says so.
    for scheme in ["", "https://"] {
        let ended = place.run(&["healthcheck", &format!("{scheme}{}", serving.address)]);
        assert!(ended.code == 1 && ended.out.contains("TLS"), "{}", ended.out);
    }
    // A key that belongs to another certificate is found at the start.
    write(&authority, place.folder.path(), "other");
    let mixed = ["serve", "m.onnx", "--tls-cert", "server.pem", "--tls-key", "other.key"];
    let message = place.fails(&[&mixed[..], &["--listen", "127.0.0.1:0"]].concat());
    assert!(message.contains("files of TLS"), "{message}");
}

#[test]
fn a_certificate_of_the_client_opens_the_door() {
    let place = Place::with(&conv_net(None));
    let (authority, stranger) = (authority(), authority());
    let folder = place.folder.path();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    write(&authority, folder, "server");
    write(&authority, folder, "client");
    write(&stranger, folder, "stranger");
    let all = [
        &["m.onnx", "--listen", "0.0.0.0:0", "--allow-remote"][..],
        &["--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem"],
    ];
    let serving = Serving::start(&place, &all.concat());
    let own = folder.join("client");
    let mut client = connect(&serving, &authority, Some(&own)).unwrap();
    while client.get("/v2/health/ready").status != 200 {}
    for own in [None, Some(folder.join("stranger"))] {
        // In TLS 1.3 the refusal comes after the client's last word.
        if let Some(mut client) = connect(&serving, &authority, own.as_deref()) {
            client.begin("GET", "/v2", &[], 0);
            assert!(client.receive().is_none());
        }
    }
}
