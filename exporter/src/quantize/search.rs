//! Which layers stay in float: those with which most is won a byte.
//!
//! Every layer by itself is put back into float in a model that is otherwise on integers, and the
//! images, as they are and as the attack on the float model left them, are classified again. A layer
//! is worth what it wins in accuracy, and among layers that win the same, what it takes off the
//! logits' error, divided by the bytes that it costs. Layers are then put back in that order, and
//! measured again each time, until the loss is small enough.

use std::collections::BTreeSet;
use std::path::Path;

use ndarray::{Array2, Array4, Axis};
use rift_models::artifact::Accuracy;
use rift_models::onnx::{GraphIndex, Model};
use rift_runtime::attack::oracle::prediction;
use rift_runtime::session::{Classifier, Pool, SessionError, SessionOptions};

use super::QuantizeError;
use super::layers::{Layer, layers};
use crate::verify::robustness::Verdicts;

/// A byte a weight becomes four.
const EXTRA_BYTES: usize = 3;

/// What the search is about.
pub(super) struct Search<'a> {
    pub(super) model: &'a Model,
    /// Writes the model with these layers in float, as it would be served.
    pub(super) write: &'a dyn Fn(&BTreeSet<String>) -> Result<Model, QuantizeError>,
    pub(super) options: &'a SessionOptions,
    /// Images with their labels, first as they are, then as the attack left them.
    pub(super) exam: &'a Exam,
    /// The largest loss to stop at, in percentage points.
    pub(super) target: f64,
}

/// Images by which candidates are compared.
pub(super) struct Exam {
    images: [Array4<f32>; 2],
    labels: Vec<usize>,
    logits: [Array2<f32>; 2],
}

impl Exam {
    /// The images of a trial of the float model, and what the attack made of them.
    pub(super) fn new(
        classifier: &Classifier,
        (clean, labels): (Array4<f32>, Vec<usize>),
        verdicts: &Verdicts,
        options: &SessionOptions,
    ) -> Result<Self, SessionError> {
        let mut attacked = clean.clone();
        for outcome in &verdicts.outcomes {
            let mut image = attacked.index_axis_mut(Axis(0), outcome.index);
            image.iter_mut().zip(&outcome.image).for_each(|(to, from)| *to = *from);
        }
        let images = [clean, attacked];
        let mut pool = Pool::new(classifier, options, labels.len())?;
        let logits = [pool.logits(&images[0].view())?, pool.logits(&images[1].view())?];
        Ok(Self { images, labels, logits })
    }

    fn mark(&self, logits: &[Array2<f32>; 2]) -> Mark {
        let right = |logits: &Array2<f32>| {
            let rows = logits.rows().into_iter().zip(&self.labels);
            rows.filter(|(row, label)| prediction(row) == **label).count()
        };
        let n = self.labels.len();
        let difference = |(found, expected): (&Array2<f32>, &Array2<f32>)| {
            (found - expected).mapv(|d| f64::from(d).powi(2)).sum()
        };
        Mark {
            accuracies: [0, 1].map(|half| Accuracy::new(right(&logits[half]), n)),
            error: logits.iter().zip(&self.logits).map(difference).sum::<f64>() / n as f64,
        }
    }
}

/// How a candidate did.
#[derive(Clone, Copy, Debug)]
struct Mark {
    accuracies: [Accuracy; 2],
    /// The mean squared distance of the logits from the float model's.
    error: f64,
}

impl Mark {
    /// The larger of the two losses, in percentage points.
    fn drop(&self, float: &Self) -> f64 {
        let drops = self.accuracies.iter().zip(&float.accuracies);
        drops.map(|(found, float)| float.percent() - found.percent()).fold(f64::MIN, f64::max)
    }

    fn percent(&self) -> f64 {
        self.accuracies.iter().map(Accuracy::percent).sum()
    }
}

impl Search<'_> {
    /// The layers to keep in float, `fixed` among them.
    pub(super) fn run(&self, fixed: &BTreeSet<String>) -> Result<BTreeSet<String>, QuantizeError> {
        let float = self.exam.mark(&self.exam.logits);
        let start = self.candidate(fixed)?;
        let mut best = (start.drop(&float), fixed.clone());
        if best.0 <= self.target {
            return Ok(best.1);
        }
        let candidates = layers(&GraphIndex::new(self.model)?)
            .into_iter()
            .filter(|layer| !fixed.contains(&layer.name));
        let mut ranked: Vec<(f64, f64, Layer)> = Vec::new();
        for layer in candidates {
            let mut names = fixed.clone();
            names.insert(layer.name.clone());
            let mark = self.candidate(&names)?;
            let bytes = (layer.weights * EXTRA_BYTES) as f64;
            let won = (mark.percent() - start.percent()) / bytes;
            ranked.push((won, (start.error - mark.error) / bytes, layer));
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        // One layer is always left: a model without any on integers is the float model.
        ranked.pop();
        let mut names = fixed.clone();
        for (won, _, layer) in ranked {
            tracing::info!("`{}` in float wins {:.3} points a kilobyte", layer.name, won * 1e3);
            names.insert(layer.name);
            let drop = self.candidate(&names)?.drop(&float);
            if drop < best.0 {
                best = (drop, names.clone());
            }
            if drop <= self.target {
                break;
            }
        }
        Ok(best.1)
    }

    fn candidate(&self, float_layers: &BTreeSet<String>) -> Result<Mark, QuantizeError> {
        let model = (self.write)(float_layers)?;
        let classifier = Classifier::from_bytes(Path::new("candidate"), model.to_bytes())?;
        let mut pool = Pool::new(&classifier, self.options, self.exam.labels.len())?;
        let [clean, attacked] = &self.exam.images;
        Ok(self.exam.mark(&[pool.logits(&clean.view())?, pool.logits(&attacked.view())?]))
    }
}
