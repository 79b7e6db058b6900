//! `rift-runtime gradient`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use rift_runtime::attack::gradient;

use super::{Answer, open, output};
use crate::cli::Global;

/// The arguments of `gradient`.
#[derive(Debug, Args)]
pub(crate) struct GradientArgs {
    /// A bundle folder or an `.onnx` file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The ONNX file to write: the model's input and `cotangent` (N × classes) in, `logits` and
    /// `input_gradient` out
    #[arg(long, value_name = "PATH", env = "RIFT_OUT")]
    out: PathBuf,
}

/// Writes a model with its reverse pass.
pub(crate) fn run(
    args: &GradientArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    output::check_writable(&args.out)?;
    let classifier = open(&args.model, global)?;
    let graph = gradient::vector_jacobian(&classifier)
        .with_context(|| format!("no gradient of `{}`", args.model.display()))?;
    let digest = graph.write(&args.out)?;
    let [c, h, w] = classifier.input();
    let classes = classifier.classes();
    writeln!(out, "{}  {digest}", args.out.display())?;
    writeln!(
        out,
        "inputs   {} [N, {c}, {h}, {w}], cotangent [N, {classes}]",
        classifier.input_name()
    )?;
    writeln!(out, "outputs  logits [N, {classes}], input_gradient [N, {c}, {h}, {w}]")?;
    Ok(Answer::Yes)
}
