//! `rift-runtime classify`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use ndarray::{Array4, Axis};
use rift_models::artifact::{Digest, atomic};
use rift_runtime::picture;
use rift_runtime::prediction::{Prediction, rank};
use rift_runtime::session::Pool;
use serde::Serialize;

use super::{Answer, open, output};
use crate::cli::{Global, ReadingArgs, Spread, at_least_one, model_path};

/// The arguments of `classify`.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// A bundle, an `.onnx` file, or `zoo:NAME`
    #[arg(value_name = "MODEL", value_parser = model_path())]
    model: PathBuf,
    /// Pictures: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM of any size
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Classes to show for each picture
    #[arg(long, value_name = "K", env = "RIFT_TOP", default_value = "5",
          value_parser = at_least_one)]
    top: usize,
    /// Write all classes with logits and probabilities as JSON
    #[arg(long, value_name = "PATH", env = "RIFT_JSON")]
    json: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    spread: Spread,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a Digest,
    images: &'a [Picture],
}

#[derive(Serialize)]
struct Picture {
    path: String,
    predictions: Vec<Prediction>,
}

/// Classifies pictures.
pub(crate) fn run(
    args: &ClassifyArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    if let Some(path) = &args.json {
        let pictures = args.images.iter().map(|image| ("a picture", &**image));
        let inputs: Vec<output::Named<'_>> =
            pictures.chain([("the model", &*args.model)]).collect();
        output::check(&[("--json", path)], &inputs)?;
    }
    let classifier = open(&args.model, &args.reading, global)?;
    let [c, h, w] = classifier.input();
    let mut pixels = Array4::zeros((args.images.len(), c, h, w));
    for (path, mut image) in args.images.iter().zip(pixels.outer_iter_mut()) {
        let pixels = picture::read(path, classifier.input())
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        image.assign(&pixels);
    }
    let mut pool = Pool::new(&classifier, &args.spread.options(), pixels.len_of(Axis(0)))?;
    let logits = pool.logits(&pixels.view())?;
    let images: Vec<Picture> = args
        .images
        .iter()
        .zip(logits.rows())
        .map(|(path, logits)| Picture {
            path: path.display().to_string(),
            predictions: rank(&classifier, &logits),
        })
        .collect();
    if let Some(path) = &args.json {
        atomic::write_json(path, &Report { model: classifier.digest(), images: &images })?;
    }
    for image in &images {
        writeln!(out, "{}", image.path)?;
        for prediction in image.predictions.iter().take(args.top) {
            let percent = prediction.probability * 100.0;
            writeln!(out, "  {percent:6.2} %  {}", prediction.name)?;
        }
    }
    Ok(Answer::Yes)
}
