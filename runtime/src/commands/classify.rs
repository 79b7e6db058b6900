//! `rift-runtime classify`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ndarray::{Array4, ArrayView1, Axis};
use rift_models::artifact::{Digest, atomic};
use rift_runtime::attack::oracle::is_distribution;
use rift_runtime::session::{Classifier, Pool};
use serde::Serialize;

use super::{Answer, open, output, picture};
use crate::cli::{Global, ReadingArgs, Spread, at_least_one};

/// The arguments of `classify`.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// A bundle folder or an `.onnx` file
    #[arg(value_name = "MODEL")]
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

#[derive(Serialize)]
struct Prediction {
    class: usize,
    name: String,
    logit: f32,
    probability: f64,
}

/// Classifies pictures.
pub(crate) fn run(
    args: &ClassifyArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    if let Some(path) = &args.json {
        output::check_writable(path)?;
    }
    let classifier = open(&args.model, &args.reading, global)?;
    let [c, h, w] = classifier.input();
    let mut pixels = Array4::zeros((args.images.len(), c, h, w));
    for (path, mut image) in args.images.iter().zip(pixels.outer_iter_mut()) {
        image.assign(&picture::read(path, classifier.input())?);
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

/// All classes, the likeliest first.
fn rank(classifier: &Classifier, logits: &ArrayView1<f32>) -> Vec<Prediction> {
    // A model that ends in softmax has done it already.
    let is_done = is_distribution(logits);
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let weight = |l: &f32| if is_done { f64::from(*l) } else { f64::from(l - largest).exp() };
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    let mut ranked: Vec<Prediction> = (0..logits.len())
        .map(|class| Prediction {
            class,
            name: classifier.class_name(class),
            logit: logits[class],
            probability: weights[class] / total,
        })
        .collect();
    // Stable: among equals the first class wins, as everywhere.
    ranked.sort_by(|a, b| b.logit.total_cmp(&a.logit));
    ranked
}
