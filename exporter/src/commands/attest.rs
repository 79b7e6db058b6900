//! `rift-exporter attest`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rift_models::artifact::atomic;
use rift_models::signature::{Envelope, PrivateKey};

use super::{Answer, output};
use crate::attestation;
use crate::cli::Attest;

/// How a statement's file name ends.
pub(super) const SUFFIX: &str = ".intoto.json";

/// Signs the statement about an audit.
pub(super) fn run(settings: &Attest) -> anyhow::Result<Answer> {
    let key = PrivateKey::read(&settings.key)?;
    let report = std::fs::read(&settings.audit)
        .with_context(|| format!("cannot read `{}`", settings.audit.display()))?;
    let statement = attestation::describe(&settings.audit, &report)?;
    let out = settings.out.clone().unwrap_or_else(|| place(&settings.audit));
    let inputs = [("the report", settings.audit.as_path()), ("the key", &settings.key)];
    output::ensure_no_input(("--out", &out), &inputs, &[])?;
    output::ensure_signature(&out)?;
    atomic::write_json(&out, &Envelope::sign(&statement, &key))?;
    Ok(Answer::Yes(format!(
        "states   {}\nkey      {}\nwritten  {}\n",
        attestation::summary(&statement).unwrap_or_default(),
        &key.public().hint()[..12],
        out.display()
    )))
}

/// Where the statement about a report lies unless somebody says otherwise.
pub(super) fn place(audit: &Path) -> PathBuf {
    audit.with_extension(&SUFFIX[1..])
}
