//! Below which stability an image is called unstable.

use std::fmt;

use super::noise::{DRAWS, Noise};
use super::stability;
use crate::server::registry::in_one_line;
use crate::session::{Classifier, Packer, Runner, SessionError, Stop};

/// Images that go through the model at once.
const BATCH: usize = 16;

/// A threshold of stability, from the probe images.
///
/// It is the k-th smallest stability of the n probe images with k = ⌊rate · (n + 1)⌋. A further image
/// that is drawn as they were lies below it with a probability of at most k / (n + 1): the bound of split
/// conformal prediction, which holds for any n and any distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::server) struct Threshold {
    /// The stability, in the units of the logits.
    pub(in crate::server) value: f32,
    /// The bound of the share of ordinary images below it: k / (n + 1).
    pub(in crate::server) rate: f64,
    /// Probe images.
    pub(in crate::server) n: usize,
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, rate, n } = self;
        let rate = rate * 100.0;
        write!(f, "stability {value} is below at most {rate:.1} % of images ({n} probe images)")
    }
}

/// The threshold of a model, or why it has none.
pub(super) fn measure(
    classifier: &Classifier,
    noise: &Noise,
    rate: f64,
) -> Result<Threshold, String> {
    let bundle = classifier.bundle().ok_or("the model is a bare file without probe images")?;
    let probe = bundle.probe().map_err(|error| in_one_line(&error))?;
    let images = &probe.images;
    let (n, c, h, w) = images.dim();
    if [c, h, w] != classifier.input() {
        return Err(format!("the probe images are of {c}x{h}x{w}, which the model does not take"));
    }
    let k = rank(n, rate)?;
    let packer = Packer::new(classifier);
    let copies = noise.with_copies(&packer, &packer.pack(&images.view()));
    let logits = logits(classifier, &copies).map_err(|error| {
        format!("the probe images cannot be classified: {}", in_one_line(&error))
    })?;
    let classes = classifier.classes();
    let rows = logits.chunks_exact(classes * (1 + DRAWS));
    let mut found: Vec<f32> = rows.map(|rows| stability(rows, classes).1).collect();
    let bad = found.iter().filter(|stability| stability.is_nan()).count();
    if bad > 0 {
        return Err(format!("the logits of {bad} of {n} probe images are not finite"));
    }
    found.sort_by(f32::total_cmp);
    Ok(Threshold { value: found[k - 1], rate: k as f64 / (n + 1) as f64, n })
}

/// Which of `n` stabilities, from the smallest, is the threshold.
fn rank(n: usize, rate: f64) -> Result<usize, String> {
    // A product of 0.999… that should be 1 is 1.
    let k = (rate * (n + 1) as f64 + 1e-9).floor() as usize;
    if k == 0 {
        let needed = (1.0 / rate - 1e-9).ceil() - 1.0;
        return Err(format!(
            "{n} probe images are too few for a false-alarm rate of {rate}, expected at least {needed}"
        ));
    }
    Ok(k.min(n))
}

fn logits(classifier: &Classifier, images: &[u8]) -> Result<Vec<f32>, SessionError> {
    let mut runner = Runner::new(classifier, BATCH)?;
    let mut logits = Vec::new();
    runner.push(images);
    runner.run(&Stop::new()?, &mut logits)?;
    Ok(logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_keeps_the_rate() {
        for (n, rate, k) in
            [(19, 0.05, 1), (32, 0.05, 1), (39, 0.05, 2), (99, 0.29, 29), (9, 0.1, 1)]
        {
            assert_eq!(rank(n, rate), Ok(k), "{n} {rate}");
            assert!(k as f64 / (n + 1) as f64 <= rate + 1e-12);
        }
        let reason = rank(18, 0.05).unwrap_err();
        assert!(reason.contains("18 probe images") && reason.ends_with("at least 19"), "{reason}");
        assert!(rank(98, 0.01).unwrap_err().ends_with("at least 99"));
        assert_eq!(rank(99, 0.01), Ok(1));
    }

    #[test]
    fn of_all_orders_exactly_the_rate_alarms() {
        // Each of n + 1 images is new once: k of them are below the k-th smallest of the others.
        for (n, rate, k) in [(39, 0.05, 2), (32, 0.05, 1), (50, 0.2, 10)] {
            let is_alarm = |new: usize| {
                let others: Vec<usize> = (0..=n).filter(|other| *other != new).collect();
                new < others[rank(n, rate).unwrap() - 1]
            };
            assert_eq!((0..=n).filter(|new| is_alarm(*new)).count(), k);
        }
    }
}
