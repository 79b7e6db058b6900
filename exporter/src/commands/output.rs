//! Where a command may write: not over what it reads.

use std::path::Path;

use anyhow::ensure;
use rift_models::artifact::{Bundle, place};
use rift_models::signature::Envelope;

/// What a command reads, as it is called in errors, with its path.
pub(super) type Input<'a> = (&'static str, &'a Path);

/// Refuses a folder that is an input, holds one or lies in one: what is written there replaces it
/// or changes it.
pub(super) fn ensure_apart(out: &Path, inputs: &[Input<'_>]) -> anyhow::Result<()> {
    ensure_holds_none(out, inputs)?;
    for (what, input) in inputs.iter().filter(|(_, input)| input.exists()) {
        ensure!(
            !place::is_within(out, input),
            "`--out {}` lies in {what} `{}`, expected a folder outside",
            out.display(),
            input.display()
        );
    }
    Ok(())
}

/// Refuses a folder that is an input or holds one.
pub(super) fn ensure_holds_none(out: &Path, inputs: &[Input<'_>]) -> anyhow::Result<()> {
    let shown = out.display();
    for (what, input) in inputs.iter().filter(|(_, input)| input.exists()) {
        ensure!(!place::is_same(out, input), "`--out {shown}` is {what}, expected another folder");
        ensure!(
            !place::is_within(input, out),
            "`--out {shown}` holds {what} `{}`, expected a folder without it",
            input.display()
        );
    }
    Ok(())
}

/// Refuses a file that is an input, or the place of one of a bundle's `files` in it.
pub(super) fn ensure_no_input(
    (flag, file): (&str, &Path),
    inputs: &[Input<'_>],
    files: &[&str],
) -> anyhow::Result<()> {
    let shown = file.display();
    for (what, input) in inputs {
        ensure!(!place::is_same(file, input), "`{flag} {shown}` is {what}, expected another file");
        let is_its = |name: &&&str| place::is_same(file, &input.join(name));
        if let Some(name) = files.iter().filter(|_| !input.is_file()).find(is_its) {
            anyhow::bail!("`{flag} {shown}` is `{name}` of {what}, expected another file");
        }
    }
    Ok(())
}

/// Refuses an output that lies in a bundle, which nothing is added to, or is its archive.
pub(super) fn ensure_outside(flag: &str, out: &Path, bundle: &Path) -> anyhow::Result<()> {
    ensure!(
        !place::is_within(out, bundle),
        "`{flag} {}` lies in the bundle `{}`, expected a place outside",
        out.display(),
        bundle.display()
    );
    Ok(())
}

/// Refuses to put a signature in the place of anything but another.
pub(super) fn ensure_signature(file: &Path) -> anyhow::Result<()> {
    ensure!(
        !file.is_file() || Envelope::read(file).is_ok(),
        "`{}` exists and is no signature, expected another file for it",
        file.display()
    );
    Ok(())
}

/// A bundle's files without its signature.
pub(super) fn unsigned() -> Vec<&'static str> {
    Bundle::ALL.into_iter().filter(|name| *name != Bundle::SIGNATURE).collect()
}
