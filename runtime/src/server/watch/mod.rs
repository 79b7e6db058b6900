//! Watching inputs: how far each image is from another class, and whether a little noise takes it
//! there.
//!
//! The margin is the largest logit less the second. The stability is the smallest margin of the same
//! class over a few noisy copies of the image: below 0 where one of them is another class to the model.
//! Images whose stability is lower than that of ordinary images are counted as unstable. All of it is
//! an indicator and no proof: an adversary who knows it can attack it along with the model.

mod calibration;
mod noise;
mod report;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use ndarray::ArrayView1;

use super::ServeError;
use super::app::App;
use super::served::Served;
use super::ticket::Answer;
use crate::attack::oracle::{margin, prediction};
use crate::session::Classifier;

pub(super) use calibration::Threshold;
pub(super) use noise::{DRAWS, Noise, threat};
pub(super) use report::{Parameter, parameters};

/// The watched images of which the rolling count says how many were unstable.
const RECENT: usize = 1000;

/// How inputs are watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watching {
    /// Every image, not only those whose requests ask for it.
    pub always: bool,
    /// The share of ordinary images that may be counted as unstable.
    pub false_alarms: f64,
}

impl Default for Watching {
    /// On request; one ordinary image in twenty is a false alarm.
    fn default() -> Self {
        Self { always: false, false_alarms: 0.05 }
    }
}

/// What was seen of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// The largest logit less the second.
    pub(super) margin: f32,
    /// The smallest margin of the same class over the noisy copies.
    pub(super) stability: f32,
    /// Whether the stability is below the threshold, where there is one.
    pub(super) unstable: Option<bool>,
}

/// What watches the inputs of one version of a model.
pub(super) struct Watch {
    pub(super) watching: Watching,
    pub(super) noise: Noise,
    threshold: OnceLock<Result<Threshold, String>>,
    recent: Mutex<VecDeque<bool>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("watching", &self.watching).finish_non_exhaustive()
    }
}

impl Watch {
    /// Nothing seen yet; the threshold is measured now only if every image will be watched.
    pub(super) fn new(watching: Watching, classifier: &Classifier) -> Self {
        let watch = Self {
            watching,
            noise: Noise::of(classifier),
            threshold: OnceLock::new(),
            recent: Mutex::default(),
        };
        if watching.always {
            watch.calibrate(classifier);
        }
        watch
    }

    /// The threshold, measured the first time that somebody asks; or why there is none.
    fn calibrate(&self, classifier: &Classifier) {
        self.threshold.get_or_init(|| {
            let rate = self.watching.false_alarms;
            let threshold = calibration::measure(classifier, &self.noise, rate);
            match &threshold {
                Ok(threshold) => tracing::info!("watching inputs: {threshold}"),
                Err(reason) => tracing::warn!("no input is counted as unstable: {reason}"),
            }
            threshold
        });
    }

    /// The threshold, or why there is none; nothing until it has been measured.
    pub(super) fn threshold(&self) -> Option<&Result<Threshold, String>> {
        self.threshold.get()
    }

    /// How many of the last images that were watched were unstable.
    pub(super) fn recent(&self) -> usize {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().filter(|unstable| **unstable).count()
    }

    /// What the logits of images, each followed by those of its noisy copies, say.
    fn see(&self, logits: &[f32], classes: usize) -> Vec<Seen> {
        let threshold = self.threshold().and_then(|threshold| threshold.as_ref().ok());
        let seen = |rows: &[f32]| {
            let (margin, stability) = stability(rows, classes);
            // What is no number is not known to be stable; there is none for it in an answer.
            let is_stable = |threshold: &Threshold| stability >= threshold.value;
            let unstable = threshold.map(|threshold| !is_stable(threshold));
            let known = |margin: f32| if margin.is_nan() { 0.0 } else { margin };
            Seen { margin: known(margin), stability: known(stability), unstable }
        };
        logits.chunks_exact(classes * (1 + DRAWS)).map(seen).collect()
    }

    fn keep(&self, seen: &[Seen]) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for unstable in seen.iter().filter_map(|seen| seen.unstable) {
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(unstable);
        }
    }
}

/// The margin of an image and the smallest one of its class over its noisy copies, whose logits
/// follow its own; NaN where one of them is not finite, since the prediction then means nothing.
fn stability(rows: &[f32], classes: usize) -> (f32, f32) {
    let mut rows = rows.chunks_exact(classes).map(ArrayView1::from);
    let Some(own) = rows.next() else { return (f32::NAN, f32::NAN) };
    let class = prediction(&own);
    let known = |margin: f32| if margin.is_finite() { margin } else { f32::NAN };
    let own = known(margin(&own, class));
    // The smaller of a number and NaN would be the number.
    let smaller = |a: f32, b: f32| if a.is_nan() || a < b { a } else { b };
    let lowest = rows.map(|row| known(margin(&row, class))).fold(f32::INFINITY, smaller);
    (own, if own.is_nan() { own } else { known(lowest) })
}

/// The logits of `n` images that lie as the model's input does, and what is seen of each, where that
/// is `wanted` or always done.
///
/// Watching an image costs [`DRAWS`] images more.
///
/// # Errors
/// As [`Served::infer`], or if the images with their copies are too large.
pub(super) async fn infer(
    app: &App,
    served: &Arc<Served>,
    (images, n): (Bytes, usize),
    (within, wanted): (Duration, bool),
) -> Result<(Answer, Option<Vec<Seen>>), ServeError> {
    if !(wanted || served.watch().watching.always) {
        return Ok((served.infer(images, n, within).await?, None));
    }
    let started = Instant::now();
    let all = n * (1 + DRAWS);
    let (bytes, limit) = (images.len().saturating_mul(1 + DRAWS), app.limits.body);
    if bytes > limit {
        let what = format!(
            "{n} images with {DRAWS} noisy copies of each take {bytes} bytes, expected at most {limit}"
        );
        return served.counting(Err(ServeError::TooLarge { what }));
    }
    let own = Arc::clone(served);
    let work = move || {
        own.watch().calibrate(own.classifier());
        own.watch().noise.with_copies(own.packer(), &images)
    };
    let images = tokio::task::spawn_blocking(work).await.map_err(|_| ServeError::Internal)?;
    let left = within.saturating_sub(started.elapsed());
    let mut answer = served.infer(images.into(), all, left).await?;
    let classes = served.classifier().classes();
    let seen = served.watch().see(&answer.logits, classes);
    served.watch().keep(&seen);
    served.saw(&seen);
    let originals = answer.logits.chunks_exact(classes).step_by(1 + DRAWS);
    answer.logits = originals.flatten().copied().collect();
    Ok((answer, Some(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_models::linear_net;

    #[test]
    fn stability_is_the_smallest_margin_of_the_same_class() {
        let rows = [[1.0, 4.0, 2.0], [0.0, 3.0, 1.5], [0.0, 3.0, 3.5]].concat();
        assert_eq!(stability(&rows, 3), (2.0, -0.5));
        assert_eq!(stability(&[0.0, 0.0, 1.0, 0.0], 2), (0.0, 1.0));
    }

    #[test]
    fn what_is_no_number_is_not_stable() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        let bad: [&[f32]; 4] = [
            &[nan, nan, nan, nan],
            &[nan, 0.0, 2.0, 0.0],
            &[5.0, 1.0, infinity, 0.0, 5.0, 1.0],
            &[5.0, 1.0, nan, 0.0, 5.0, 1.0],
        ];
        for rows in bad {
            assert!(stability(rows, 2).1.is_nan(), "{rows:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        linear_net().write(&path).unwrap();
        let mut watch = Watch::new(Watching::default(), &Classifier::open(&path).unwrap());
        watch.threshold = OnceLock::from(Ok(Threshold { value: -1.0, rate: 0.05, n: 19 }));
        let rows = [[0.0, 0.5].repeat(1 + DRAWS), [nan, 0.5].repeat(1 + DRAWS)].concat();
        let seen = watch.see(&rows, 2);
        assert_eq!(seen[0], Seen { margin: 0.5, stability: 0.5, unstable: Some(false) });
        assert_eq!(seen[1], Seen { margin: 0.0, stability: 0.0, unstable: Some(true) });
    }
}
