//! Robust overfitting: robustness to what was trained on rises while robustness falls.
//!
//! # References
//! Rice, Wong, Kolter, *Overfitting in adversarially robust deep learning*, ICML 2020.

use std::fmt;

use super::EpochMetrics;

/// Epochs that are averaged, so that one lucky epoch is no peak and one unlucky epoch no fall.
const WINDOW: usize = 3;
/// A fall counts from so many standard errors of the peak's accuracy on.
const ERRORS: f64 = 1.0;

/// What the curves of a run show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overfitting {
    /// The middle of the best epochs, from 1.
    pub peak: usize,
    /// Robust accuracy on the validation images around it, and in the last epochs.
    pub validation: [f64; 2],
    /// Robust accuracy on training images at the same times.
    pub training: [f64; 2],
}

impl fmt::Display for Overfitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [validation, training] =
            [self.validation, self.training].map(|[then, now]| (100.0 * then, 100.0 * now));
        write!(
            f,
            "robust overfitting: since about epoch {} robust accuracy fell from {:.1} % to {:.1} % on \
             the validation images, while it rose from {:.1} % to {:.1} % on training images (the \
             best epoch is kept)",
            self.peak, validation.0, validation.1, training.0, training.1
        )
    }
}

/// Whether a run overfits, judged by means over three epochs: the last ones against the best
/// ones before, of which none is the same.
///
/// A fall by less than a standard error of the accuracy is noise and no overfitting.
pub fn overfitting(epochs: &[EpochMetrics]) -> Option<Overfitting> {
    let curves: Vec<[f64; 2]> = epochs.iter().map(curves).collect::<Option<_>>()?;
    let means: Vec<[f64; 2]> = curves.windows(WINDOW).map(mean).collect();
    let (last, before) = means.split_last()?;
    let before = &before[..before.len().checked_sub(WINDOW - 1)?];
    let (place, peak) = before.iter().enumerate().max_by(|(_, a), (_, b)| a[0].total_cmp(&b[0]))?;
    let n = epochs.last()?.validation_n.max(1) as f64;
    let error = (peak[0] * (1.0 - peak[0]) / n).sqrt();
    let overfits = peak[0] - last[0] > ERRORS * error && last[1] > peak[1];
    overfits.then(|| Overfitting {
        peak: place + 1 + WINDOW / 2,
        validation: [peak[0], last[0]],
        training: [peak[1], last[1]],
    })
}

/// Robust accuracy on validation and on training images; nothing where it was not measured. Where no
/// training images were judged, those count that were trained on.
fn curves(epoch: &EpochMetrics) -> Option<[f64; 2]> {
    let validation = epoch.validation_robust? as f64 / epoch.validation_n.max(1) as f64;
    let training = epoch
        .training_robust
        .map_or(epoch.train_accuracy, |robust| robust as f64 / epoch.training_n.max(1) as f64);
    Some([validation, training])
}

fn mean(window: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|curve| window.iter().map(|row| row[curve]).sum::<f64>() / window.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs with robust counts of 1,000 validation and 500 training images.
    fn run(rows: &[(usize, usize)]) -> Vec<EpochMetrics> {
        let epoch = |(place, (validation, training)): (usize, &(usize, usize))| EpochMetrics {
            epoch: place + 1,
            training_n: 500,
            training_robust: Some(*training),
            validation_n: 1000,
            validation_robust: Some(*validation),
            ..EpochMetrics::default()
        };
        rows.iter().enumerate().map(epoch).collect()
    }

    #[test]
    fn sees_the_fall_of_validation_beside_the_rise_of_training() {
        let falls = [(480, 300), (500, 310), (510, 320), (490, 330), (470, 350), (450, 360)];
        let found = overfitting(&run(&falls)).unwrap();
        assert_eq!(found.peak, 2);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(found.validation[0], 1490.0 / 3000.0), "{found:?}");
        assert!(near(found.validation[1], 1410.0 / 3000.0), "{found:?}");
        let text = found.to_string();
        assert!(text.contains("49.7 % to 47.0 %") && text.contains("62.0 % to 69.3 %"), "{text}");
    }

    #[test]
    fn is_quiet_where_there_is_nothing_to_see() {
        let steady = [(500, 300), (505, 310), (500, 320), (498, 330), (503, 340), (499, 350)];
        let worse_everywhere =
            [(500, 300), (500, 300), (500, 300), (400, 200), (400, 200), (400, 200)];
        let one_bad_epoch =
            [(500, 300), (500, 310), (500, 320), (500, 330), (500, 330), (460, 340)];
        let rises = [(300, 300), (350, 310), (400, 320), (420, 330), (440, 340), (450, 350)];
        let short = [(500, 300), (510, 310), (300, 320), (200, 330), (100, 340)];
        for (name, rows) in [
            ("noise", &steady[..]),
            ("training falls too", &worse_everywhere),
            ("a single epoch", &one_bad_epoch),
            ("still learning", &rises),
            ("too few epochs", &short),
            ("none", &[]),
        ] {
            assert_eq!(overfitting(&run(rows)), None, "{name}");
        }
    }

    #[test]
    fn needs_an_attack_but_no_judged_training_images() {
        let rows = [(500, 300), (500, 310), (500, 320), (420, 330), (410, 340), (400, 350)];
        let mut epochs = run(&rows);
        for epoch in &mut epochs {
            epoch.training_robust = None;
            epoch.train_accuracy = epoch.epoch as f64 / 10.0;
        }
        assert!(overfitting(&epochs).is_some());
        epochs[3].validation_robust = None;
        assert_eq!(overfitting(&epochs), None);
    }
}
