//! The commands, one file each.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod classify;
pub(crate) mod gradient;
pub(crate) mod info;
mod output;
mod picture;

use std::path::Path;

use rift_runtime::session::{Classifier, library};

use crate::cli::Global;

/// How a command ends when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Fine.
    Yes,
    /// What was asked for does not hold.
    No,
}

/// Opens the model on the library that the user named, if any.
fn open(model: &Path, global: &Global) -> anyhow::Result<Classifier> {
    // A path that is not there deserves its own message, not one about the library.
    if model.exists() {
        library::load(global.onnxruntime.as_deref())?;
    }
    Ok(Classifier::open(model)?)
}
