//! What a model makes of an image.

use ndarray::ArrayView1;
use serde::Serialize;

use crate::attack::oracle::is_distribution;
use crate::session::Classifier;

/// What a model makes of an image for one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The class.
    pub class: usize,
    /// Its name.
    pub name: String,
    /// Its logit.
    pub logit: f32,
    /// Its share of the softmax.
    pub probability: f64,
}

/// All classes, the likeliest first.
pub fn rank(classifier: &Classifier, logits: &ArrayView1<f32>) -> Vec<Prediction> {
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
