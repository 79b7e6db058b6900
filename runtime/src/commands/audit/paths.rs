//! The files that an audit reads and writes.

use std::path::Path;

use super::AuditArgs;
use super::replay::Replay;
use crate::commands::output::{self, Named};

/// Fails now where something could not be written later, or would overwrite what is read.
pub(super) fn check(
    args: &AuditArgs,
    replay: Option<&Replay>,
    state: Option<&Path>,
) -> anyhow::Result<()> {
    let outputs = [
        ("--json", args.json.as_deref()),
        ("--html", args.html.as_deref()),
        ("--save-adversarial", args.save_adversarial.as_deref()),
        ("--state", state),
    ];
    // What is not given is where the report says.
    let [model, data, twin] = replay.map_or([None; 3], Replay::places);
    let inputs = [
        ("the model", args.model.as_deref().or(model)),
        ("the data", args.data.as_deref().or(data)),
        ("the model of the gradients", args.gradients_from.as_deref().or(twin)),
        ("the report of `--replay`", args.replay.as_deref()),
        ("the corrupted images", args.corruptions.folder()),
    ];
    let outputs: Vec<Named<'_>> =
        outputs.into_iter().filter_map(given).chain(args.formats.paths()).collect();
    let inputs: Vec<Named<'_>> = inputs.into_iter().filter_map(given).collect();
    output::check(&outputs, &inputs)
}

fn given<'p>((name, path): (&'static str, Option<&'p Path>)) -> Option<Named<'p>> {
    path.map(|path| (name, path))
}
