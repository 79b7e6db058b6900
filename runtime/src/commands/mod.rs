//! The commands, one file each.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod classify;
pub(crate) mod gradient;
pub(crate) mod info;
mod output;
pub(crate) mod serve;

use std::io::Write;
use std::path::Path;

use anyhow::ensure;
use rift_runtime::server::screen::{Limits, Screen};
use rift_runtime::session::{Classifier, Opening, library};

use crate::cli::{Global, ReadingArgs};

/// How a command ends when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Fine.
    Yes,
    /// What was asked for does not hold.
    No,
}

/// Opens the model on the CPU and on the library that the user named, if any, and reads it as the
/// user says.
fn open(model: &Path, reading: &ReadingArgs, global: &Global) -> anyhow::Result<Classifier> {
    open_with(model, &Opening { reading: reading.reading(false), ..Opening::default() }, global)
}

/// As [`open`], for what asks the model next to nothing.
fn look_at(model: &Path, reading: &ReadingArgs, global: &Global) -> anyhow::Result<Classifier> {
    let reading = reading.reading(false);
    open_with(model, &Opening { reading, is_brief: true, ..Opening::default() }, global)
}

/// As [`open`], with all that can be said.
fn open_with(model: &Path, opening: &Opening, global: &Global) -> anyhow::Result<Classifier> {
    // A path that is not there deserves its own message, not one about the library.
    if model.exists() {
        let provider = opening.engine.provider();
        library::load_for(global.onnxruntime.as_deref(), provider)?;
    }
    let classifier = if global.screen && model.exists() {
        let screen = Screen::new(Limits::default()).measuring();
        let (classifier, record) = screen.open(model, opening)?;
        if !global.quiet {
            writeln!(std::io::stderr(), "screen      {record}")?;
        }
        classifier
    } else {
        Classifier::open_with(model, opening)?
    };
    if let Some([height, width]) = opening.reading.size {
        let [_, h, w] = classifier.input();
        ensure!(
            [h, w] == [height, width],
            "`{}` takes images of {h}x{w}, `--size` says {height}x{width}",
            model.display()
        );
    }
    Ok(classifier)
}
