//! `rift-runtime info`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use rift_models::artifact::{Bundle, Digest, Lineage, atomic};
use rift_runtime::attack::gradient;
use rift_runtime::autodiff::Layout;
use rift_runtime::session::Classifier;
use serde::Serialize;

use super::{Answer, look_at, output};
use crate::cli::{Global, ReadingArgs, model_path};

/// The arguments of `info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// A bundle, an `.onnx` file, or `zoo:NAME`
    #[arg(value_name = "MODEL", value_parser = model_path())]
    model: PathBuf,
    /// Write all of it as JSON, the whole card included
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
}

#[derive(Serialize)]
struct Info<'a> {
    path: String,
    digest: &'a Digest,
    input: [usize; 3],
    takes: String,
    classes: Vec<String>,
    producer: String,
    opset: i64,
    nodes: usize,
    parameters: usize,
    operators: BTreeMap<&'a str, usize>,
    /// Why the model cannot be differentiated, if it cannot.
    no_gradient: Option<String>,
    card: Option<&'a rift_models::artifact::Card>,
    onnxruntime: String,
    warnings: Vec<String>,
}

/// Shows what a model is.
pub(crate) fn run(args: &InfoArgs, global: &Global, out: &mut dyn Write) -> anyhow::Result<Answer> {
    if let Some(path) = &args.json {
        output::check(&[("--json", path)], &[("the model", &args.model)])?;
    }
    let classifier = look_at(&args.model, &args.reading, global)?;
    let info = gather(&classifier);
    if let Some(path) = &args.json {
        atomic::write_json(path, &info)?;
    }
    print(&info, classifier.bundle(), out)?;
    Ok(Answer::Yes)
}

fn gather(classifier: &Classifier) -> Info<'_> {
    let model = classifier.model();
    let graph = model.graph();
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(node.op_type()).or_insert(0) += 1;
    }
    let size = |dims: &[i64]| dims.iter().product::<i64>() as usize;
    let proto = model.proto();
    Info {
        path: classifier.path().display().to_string(),
        digest: classifier.digest(),
        input: classifier.input(),
        takes: takes(classifier),
        classes: (0..classifier.classes()).map(|class| classifier.class_name(class)).collect(),
        producer: match proto.producer_name() {
            "" => "an unnamed program".to_owned(),
            name => format!("{name} {}", proto.producer_version()).trim().to_owned(),
        },
        opset: model.opset(),
        nodes: graph.node.len(),
        parameters: graph.initializer.iter().map(|tensor| size(&tensor.dims)).sum(),
        operators,
        no_gradient: gradient::support(classifier)
            .err()
            .map(|error| format!("{:#}", anyhow::Error::from(error))),
        card: classifier.bundle().map(|bundle| &bundle.card),
        onnxruntime: format!(
            "{} ({})",
            classifier.library().version(),
            classifier.library().path().display()
        ),
        warnings: classifier.precautions().iter().map(ToString::to_string).collect(),
    }
}

/// The input and the output as the file has them.
fn takes(classifier: &Classifier) -> String {
    let element = if classifier.levels().is_some() { "bytes" } else { "floats" };
    let order = match classifier.layout() {
        Layout::ChannelsFirst => "N × C × H × W",
        Layout::ChannelsLast => "N × H × W × C",
    };
    let batch = match classifier.fixed_batch() {
        Some(1) => ", 1 image at once".to_owned(),
        Some(n) => format!(", {n} images at once"),
        None => String::new(),
    };
    let free = if classifier.is_free() { ", free in size" } else { "" };
    let (input, output) = (classifier.input_name(), classifier.output_name());
    format!("{element} `{input}` {order}{batch}{free}, gives `{output}`")
}

fn print(info: &Info, bundle: Option<&Bundle>, out: &mut dyn Write) -> std::io::Result<()> {
    let [c, h, w] = info.input;
    writeln!(out, "model       {}", info.path)?;
    writeln!(out, "digest      {}", info.digest)?;
    writeln!(out, "input       {c} channels, {h} × {w} pixels in [0, 1]")?;
    writeln!(out, "takes       {}", info.takes)?;
    writeln!(out, "classes     {}: {}", info.classes.len(), few(&info.classes))?;
    writeln!(
        out,
        "graph       {} nodes, {} stored numbers, opset {}, by {}",
        info.nodes, info.parameters, info.opset, info.producer
    )?;
    let operators: Vec<String> =
        info.operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
    writeln!(out, "operators   {}", operators.join(", "))?;
    match &info.no_gradient {
        None => writeln!(out, "gradient    every operator on the way to the logits has one")?,
        Some(reason) => writeln!(out, "gradient    none: {reason}")?,
    }
    if let Some(bundle) = bundle {
        print_card(bundle, out)?;
    }
    writeln!(out, "runtime     ONNX Runtime {}", info.onnxruntime)?;
    for warning in &info.warnings {
        writeln!(out, "warning     {warning}")?;
    }
    Ok(())
}

fn print_card(bundle: &Bundle, out: &mut dyn Write) -> std::io::Result<()> {
    let card = &bundle.card;
    writeln!(out, "bundle      {} (files match the card)", card.name)?;
    writeln!(out, "network     {}", card.arch.name)?;
    match &card.threat {
        Some(threat) => writeln!(out, "trained on  {}", threat.label())?,
        None => writeln!(out, "trained on  no threat model is stated")?,
    }
    writeln!(
        out,
        "parity      logits within {:.1e} of the checkpoint's on {} images",
        card.parity.max_abs_difference, card.parity.n
    )?;
    for metric in &card.metrics {
        let attack = metric.attack.as_ref().map(|a| format!(" under {}", a.label()));
        let attack = attack.unwrap_or_default();
        writeln!(out, "{:<11} {}{attack} on {}", metric.name, metric.accuracy, metric.split)?;
    }
    print_lineage(&card.lineage, "", out)
}

fn print_lineage(lineage: &Lineage, role: &str, out: &mut dyn Write) -> std::io::Result<()> {
    if !lineage.made_by.is_empty() {
        writeln!(out, "made by     {}{role}", lineage.made_by)?;
    }
    for (role, digest) in &lineage.parents {
        writeln!(out, "  from      {role} sha256 {}", digest.short())?;
    }
    for (role, ancestor) in &lineage.ancestors {
        print_lineage(ancestor, &format!(" ({role})"), out)?;
    }
    Ok(())
}

/// The first names, and how many more there are.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
