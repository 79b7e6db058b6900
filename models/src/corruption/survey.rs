//! A classifier's accuracy under the common corruptions, whoever computes its predictions.

use std::fmt;

use ndarray::Array4;

use super::{Corruption, CorruptionError, Severity};
use crate::artifact::CorruptionVerdicts;
use crate::dataset::Dataset;

/// Corruptions as a command line names them; see [`Corruption::selection`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruptions(pub Vec<Corruption>);

impl std::str::FromStr for Corruptions {
    type Err = CorruptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Corruption::selection(text).map(Self)
    }
}

/// Severities as a command line names them; see [`Severity::selection`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Severities(pub Vec<Severity>);

impl std::str::FromStr for Severities {
    type Err = CorruptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Severity::selection(text).map(Self)
    }
}

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The corruptions, in order.
    pub corruptions: Vec<Corruption>,
    /// The severities of each.
    pub severities: Vec<Severity>,
    /// The seed of the corruptions' draws.
    pub seed: u64,
    /// Images that are classified at a time; nothing depends on it but memory and speed.
    pub batch: usize,
}

/// Why there is no result.
#[derive(Debug)]
pub enum SurveyError<E> {
    /// The images cannot be corrupted.
    Corruption(CorruptionError),
    /// The classifier failed.
    Classifier(E),
}

impl<E: fmt::Display> fmt::Display for SurveyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corruption(error) => error.fmt(f),
            Self::Classifier(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for SurveyError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Corruption(error) => error.source(),
            Self::Classifier(error) => error.source(),
        }
    }
}

impl Survey {
    /// How many images are classified over a data set.
    pub fn images(&self, images: &Dataset) -> usize {
        self.corruptions.len() * self.severities.len() * images.len()
    }

    /// Corrupts all images in every way and notes which `classify` (N×C×H×W in, a class an image
    /// out) gets right; `progress` hears the corruption and the number of images done since.
    ///
    /// # Errors
    /// If the images cannot be corrupted, or the classifier fails.
    pub fn run<E>(
        &self,
        images: &Dataset,
        mut classify: impl FnMut(Array4<f32>) -> Result<Vec<usize>, E>,
        mut progress: impl FnMut(Corruption, usize),
    ) -> Result<CorruptionVerdicts, SurveyError<E>> {
        let mut rows = Vec::new();
        for corruption in &self.corruptions {
            for severity in &self.severities {
                let mut verdicts = Vec::with_capacity(images.len());
                for start in (0..images.len()).step_by(self.batch.max(1)) {
                    let places = start..(start + self.batch.max(1)).min(images.len());
                    let labels = &images.labels[places.clone()];
                    let batch = corruption
                        .batch(*severity, images, places, self.seed)
                        .map_err(SurveyError::Corruption)?;
                    let classes = classify(batch).map_err(SurveyError::Classifier)?;
                    verdicts
                        .extend(classes.iter().zip(labels).map(|(class, label)| class == label));
                    progress(*corruption, labels.len());
                }
                rows.push((*corruption, *severity, verdicts));
            }
        }
        Ok(CorruptionVerdicts { n: images.len(), seed: self.seed, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Request, Split};

    #[test]
    fn verdicts_do_not_depend_on_the_batch() {
        let request = Request::new(Split::Test).limit(13);
        let images =
            Dataset::synthetic(&"synthetic:10x3x32x32".parse().unwrap(), &request).unwrap();
        let survey = |batch| Survey {
            corruptions: vec![Corruption::ImpulseNoise, Corruption::Fog],
            severities: vec![Severity::ALL[1], Severity::ALL[3]],
            seed: 4,
            batch,
        };
        // A class by the brightness of a corner, which the corruptions change.
        let classify = |batch: Array4<f32>| {
            Ok::<_, CorruptionError>(
                batch
                    .outer_iter()
                    .map(|x| (x.slice(ndarray::s![.., ..4, ..4]).sum() as usize) % 10)
                    .collect(),
            )
        };
        let mut done = 0;
        let one = survey(1).run(&images, classify, |_, images| done += images).unwrap();
        assert_eq!((done, one.rows.len(), one.n), (52, 4, 13));
        assert_eq!(survey(1).images(&images), 52);
        assert_eq!(one, survey(5).run(&images, classify, |_, _| ()).unwrap());
        let small = Dataset::synthetic(&"synthetic:10x3x6x6".parse().unwrap(), &request).unwrap();
        let error = survey(5).run(&small, classify, |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("at least 8×8 pixels, found 6×6"), "{error}");
    }
}
