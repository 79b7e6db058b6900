//! `rift-runtime gradient`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use rift_runtime::attack::gradient;

use super::{Answer, look_at, output};
use crate::cli::{Global, ReadingArgs, model_path};

/// The arguments of `gradient`.
#[derive(Debug, Args)]
pub(crate) struct GradientArgs {
    /// A bundle, an `.onnx` file, or `zoo:NAME`
    #[arg(value_name = "MODEL", value_parser = model_path())]
    model: PathBuf,
    /// The ONNX file to write: the model's input and `cotangent` (N × classes) in, `logits` and
    /// `input_gradient` out, both in the units and the layout that the model takes
    #[arg(long, value_name = "PATH", env = "RIFT_OUT")]
    out: PathBuf,
    #[command(flatten)]
    reading: ReadingArgs,
}

/// Writes a model with its reverse pass.
pub(crate) fn run(
    args: &GradientArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    output::check(&[("--out", &args.out)], &[("the model", &args.model)])?;
    let classifier = look_at(&args.model, &args.reading, global)?;
    let graph = gradient::vector_jacobian(&classifier)
        .with_context(|| format!("no gradient of `{}`", args.model.display()))?;
    let digest = graph.write(&args.out)?;
    let [first, second, third] = classifier.dims();
    let batch = classifier.fixed_batch().map_or_else(|| "N".to_owned(), |n| n.to_string());
    let image = format!("[{batch}, {first}, {second}, {third}]");
    let classes = classifier.classes();
    writeln!(out, "{}  {digest}", args.out.display())?;
    let name = classifier.input_name();
    writeln!(out, "inputs   {name} {image}, cotangent [{batch}, {classes}]")?;
    writeln!(out, "outputs  logits [{batch}, {classes}], input_gradient {image}")?;
    Ok(Answer::Yes)
}
