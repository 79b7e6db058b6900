//! The settings of `keygen`, `sign`, `attest` and `verify-signature`.

use std::path::PathBuf;

use clap::Args;

/// Settings of `keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// The keys' files without their endings: `NAME.key` signs and stays with you, `NAME.pub` tells
    /// others what you signed.
    #[arg(long, value_name = "NAME", env = "RIFT_OUT", default_value = "rift")]
    pub out: PathBuf,
}

/// Settings of `sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The bundle's folder or archive.
    #[arg(value_name = "BUNDLE")]
    pub bundle: PathBuf,
    /// The private key: ECDSA on the curve P-256, in PEM.
    #[arg(long, value_name = "FILE", env = "RIFT_KEY")]
    pub key: PathBuf,
    /// The signature [default: `model.sig` in the bundle; beside an archive, its name and `.sig`].
    #[arg(long, value_name = "FILE", env = "RIFT_OUT")]
    pub out: Option<PathBuf>,
}

/// Settings of `attest`.
#[derive(Debug, Args)]
pub struct Attest {
    /// The audit's report, as `rift-runtime audit --json` writes it.
    #[arg(value_name = "AUDIT")]
    pub audit: PathBuf,
    /// The private key: ECDSA on the curve P-256, in PEM.
    #[arg(long, value_name = "FILE", env = "RIFT_KEY")]
    pub key: PathBuf,
    /// The statement [default: beside the report, `audit.intoto.json` for `audit.json`].
    #[arg(long, value_name = "FILE", env = "RIFT_OUT")]
    pub out: Option<PathBuf>,
}

/// Settings of `verify-signature`.
#[derive(Debug, Args)]
pub struct VerifySignature {
    /// What was signed: a bundle's folder or archive, an audit's report, or a statement itself.
    #[arg(value_name = "SIGNED")]
    pub what: PathBuf,
    /// The public key in PEM.
    #[arg(long, value_name = "FILE", env = "RIFT_KEY")]
    pub key: PathBuf,
    /// The signature [default: where `sign` and `attest` put it]. With a bundle and a signed audit:
    /// whether the audit is of this model.
    #[arg(long, value_name = "FILE", env = "RIFT_SIGNATURE")]
    pub signature: Option<PathBuf>,
}
