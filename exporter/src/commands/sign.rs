//! `rift-exporter keygen` and `rift-exporter sign`.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use rift_models::artifact::{Bundle, archive, atomic};
use rift_models::signature::{Envelope, PrivateKey, model};

use super::{Answer, output};
use crate::bundle::evidence;
use crate::cli::{Keygen, Sign};

/// Makes a pair of keys.
pub(super) fn keygen(settings: &Keygen) -> anyhow::Result<Answer> {
    let named = settings.out.to_string_lossy();
    let last = named.rsplit(std::path::is_separator).next();
    ensure!(
        !matches!(last, None | Some("" | "." | "..")),
        "`--out {named}` is a folder, expected a name for new keys in it"
    );
    let [private, public] = ["key", "pub"].map(|ending| with_ending(&settings.out, ending));
    // A public key whose private one lies elsewhere is not to be lost either.
    ensure!(
        private.exists() || !public.exists(),
        "`{}` exists, expected a name for new keys",
        public.display()
    );
    let key = PrivateKey::generate();
    key.write(&private)?;
    if let Err(error) = key.public().write(&public) {
        // Half a pair is of no use, and would stand in the way of the next.
        let _ = std::fs::remove_file(&private);
        return Err(error.into());
    }
    Ok(Answer::Yes(format!(
        "private  {}, for your eyes alone\npublic   {}, key {}\n",
        private.display(),
        public.display(),
        &key.public().hint()[..12]
    )))
}

/// Signs a bundle whose files, bill of materials and page are those of its card.
pub(super) fn run(settings: &Sign) -> anyhow::Result<Answer> {
    let key = PrivateKey::read(&settings.key)?;
    let out = settings.out.clone().unwrap_or_else(|| place(&settings.bundle));
    let inputs = [("the bundle", settings.bundle.as_path()), ("the key", &settings.key)];
    output::ensure_no_input(("--out", &out), &inputs, &output::unsigned())?;
    output::ensure_signature(&out)?;
    let bundle = Bundle::open(&settings.bundle)?;
    let statement = model::describe(&settings.bundle, &out)?;
    evidence::ensure(&bundle, &settings.bundle)?;
    let envelope = Envelope::sign(&statement, &key);
    atomic::write_json(&out, &envelope.to_bundle(&key.public()))?;
    Ok(Answer::Yes(format!(
        "signed   {}\nkey      {}\nwritten  {}\n",
        settings.bundle.display(),
        &key.public().hint()[..12],
        out.display()
    )))
}

/// Where the signature of a bundle lies unless somebody says otherwise.
pub(super) fn place(bundle: &Path) -> PathBuf {
    if archive::is_archive(bundle) {
        with_ending(bundle, "sig")
    } else {
        bundle.join(Bundle::SIGNATURE)
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}
