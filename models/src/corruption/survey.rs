//! A classifier's accuracy under the common corruptions, whoever computes its predictions.

use std::convert::Infallible;
use std::fmt;

use ndarray::Array4;

use super::{Corruption, CorruptionError, Published, PublishedError, Severity, fits};
use crate::artifact::{CorruptionVerdicts, DigestBuilder};
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
    /// Published images, where they are not to be computed.
    pub published: Option<Published>,
}

/// Why there is no result.
#[derive(Debug)]
pub enum SurveyError<E> {
    /// The images cannot be corrupted.
    Corruption(CorruptionError),
    /// The published images cannot be used.
    Published(PublishedError),
    /// The classifier failed.
    Classifier(E),
}

impl<E: fmt::Display> fmt::Display for SurveyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corruption(error) => error.fmt(f),
            Self::Published(error) => error.fmt(f),
            Self::Classifier(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for SurveyError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Corruption(error) => error.source(),
            Self::Published(error) => error.source(),
            Self::Classifier(error) => error.source(),
        }
    }
}

impl Survey {
    /// How many images are classified over a data set.
    pub fn images(&self, images: &Dataset) -> usize {
        self.corruptions.len() * self.severities.len() * images.len()
    }

    /// Checks that every corruption of `images` can be had, by reading published copies once: what
    /// [`run`](Self::run) would find wrong with them, before a network has to be there.
    ///
    /// # Errors
    /// If the images cannot be corrupted, or their copies are not there or do not fit them.
    pub fn check(&self, images: &Dataset) -> Result<(), SurveyError<Infallible>> {
        let Some(published) = &self.published else {
            return fits(images.input()).map_err(SurveyError::Corruption);
        };
        for corruption in &self.corruptions {
            published.read(*corruption, images).map_err(SurveyError::Published)?;
        }
        Ok(())
    }

    /// Corrupts all images in every way, or takes their published copies, and notes which `classify`
    /// (N×C×H×W in, a class an image out) gets right; `progress` hears the corruption and the number
    /// of images done since.
    ///
    /// # Errors
    /// If the images cannot be corrupted, their copies do not fit them, or the classifier fails.
    pub fn run<E>(
        &self,
        images: &Dataset,
        mut classify: impl FnMut(Array4<f32>) -> Result<Vec<usize>, E>,
        mut progress: impl FnMut(Corruption, usize),
    ) -> Result<CorruptionVerdicts, SurveyError<E>> {
        let mut rows = Vec::new();
        let mut digest = DigestBuilder::default();
        for corruption in &self.corruptions {
            let read = |published: &Published| published.read(*corruption, images);
            let copies =
                self.published.as_ref().map(read).transpose().map_err(SurveyError::Published)?;
            if let Some(copies) = &copies {
                digest.update(copies.digest().to_string().as_bytes());
            }
            for severity in &self.severities {
                let mut verdicts = Vec::with_capacity(images.len());
                for start in (0..images.len()).step_by(self.batch.max(1)) {
                    let places = start..(start + self.batch.max(1)).min(images.len());
                    let (batch, labels) = match &copies {
                        Some(copies) => copies.batch(*severity, places),
                        None => (
                            corruption
                                .batch(*severity, images, places.clone(), self.seed)
                                .map_err(SurveyError::Corruption)?,
                            &images.labels[places],
                        ),
                    };
                    let classes = classify(batch).map_err(SurveyError::Classifier)?;
                    verdicts
                        .extend(classes.iter().zip(labels).map(|(class, label)| class == label));
                    progress(*corruption, labels.len());
                }
                rows.push((*corruption, *severity, verdicts));
            }
        }
        let published = self.published.as_ref().map(|_| digest.finish());
        Ok(CorruptionVerdicts { n: images.len(), seed: self.seed, published, rows })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
            published: None,
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
        assert_eq!(survey(5).check(&small).unwrap_err().to_string(), error);
        survey(5).check(&images).unwrap();
    }

    /// A folder like CIFAR-10-C: `copies` of the images at every severity, in order.
    fn publish(folder: &std::path::Path, images: &Dataset, copies: &[(Corruption, [u8; 5])]) {
        let n = images.len();
        let labels: Vec<u8> = (0..5 * n).map(|row| images.labels[row % n] as u8).collect();
        ndarray_npy::write_npy(folder.join("labels.npy"), &ndarray::Array1::from(labels)).unwrap();
        for (corruption, shades) in copies {
            // Each image is its severity's shade, but for a corner pixel that is its own number.
            let [_, height, width] = images.input();
            let pixels =
                ndarray::Array4::from_shape_fn((5 * n, height, width, 3), |(row, y, x, _)| {
                    if (y, x) == (0, 0) { (row % n) as u8 } else { shades[row / n] }
                });
            let path = folder.join(format!("{}.npy", corruption.name()));
            ndarray_npy::write_npy(path, &pixels).unwrap();
        }
    }

    #[test]
    fn published_images_are_taken_by_severity() {
        let request = Request::new(Split::Test).limit(20);
        let images =
            Dataset::synthetic(&"synthetic:10x3x32x32".parse().unwrap(), &request).unwrap();
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &images, &[(Corruption::Fog, [10, 20, 30, 40, 50])]);
        let survey = Survey {
            corruptions: vec![Corruption::Fog],
            severities: vec![Severity::ALL[1], Severity::ALL[4]],
            seed: 0,
            batch: 4,
            published: Some(Published::new(folder.path())),
        };
        let few = Dataset::synthetic(
            &"synthetic:10x3x32x32".parse().unwrap(),
            &Request::new(Split::Test).limit(15),
        )
        .unwrap();
        let mut seen = Vec::new();
        let classify = |batch: Array4<f32>| {
            for image in batch.outer_iter() {
                let byte = |y, x| (image[[0, y, x]] * 255.0).round() as usize;
                seen.push((byte(1, 1), byte(0, 0)));
            }
            Ok::<_, CorruptionError>(vec![few.labels[0]; batch.len_of(ndarray::Axis(0))])
        };
        let verdicts = survey.run(&few, classify, |_, _| ()).unwrap();
        let expected: Vec<_> =
            [20, 50].into_iter().flat_map(|shade| (0..15).map(move |i| (shade, i))).collect();
        assert_eq!(seen, expected, "the first at severities 2 and 5");
        for (_, _, row) in &verdicts.rows {
            let right: Vec<bool> = few.labels.iter().map(|label| *label == few.labels[0]).collect();
            assert_eq!(*row, right);
        }
        assert!(verdicts.report().published.is_some());

        let blind =
            |batch: Array4<f32>| Ok::<_, CorruptionError>(vec![0; batch.len_of(ndarray::Axis(0))]);
        let more = Dataset::synthetic(
            &"synthetic:10x3x32x32".parse().unwrap(),
            &Request::new(Split::Test).limit(21),
        )
        .unwrap();
        survey.check(&few).unwrap();
        let error = survey.run(&more, blind, |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("expected 5 times 21 images or more, found 100 images"), "{error}");
        assert_eq!(survey.check(&more).unwrap_err().to_string(), error);
        let other =
            Survey { corruptions: vec![Corruption::Fog, Corruption::Frost], ..survey.clone() };
        let error = other.run(&few, blind, |_, _| ()).unwrap_err().to_string();
        assert!(error.contains("frost.npy"), "{error}");
        assert_eq!(other.check(&few).unwrap_err().to_string(), error);
        let five = Dataset::synthetic(
            &"synthetic:5x3x32x32".parse().unwrap(),
            &Request::new(Split::Test).limit(15),
        )
        .unwrap();
        let error = survey.check(&five).unwrap_err().to_string();
        assert!(error.contains("of 5 classes, found"), "{error}");
    }

    fn of_published_fog(folder: &Path) -> Survey {
        Survey {
            corruptions: vec![Corruption::Fog],
            severities: Severity::ALL.to_vec(),
            seed: 0,
            batch: 50,
            published: Some(Published::new(folder)),
        }
    }

    #[test]
    fn a_slice_of_published_images_need_not_have_every_class() {
        let folder = tempfile::tempdir().unwrap();
        let hundred = Dataset::synthetic(
            &"synthetic:100x3x32x32,test=100".parse().unwrap(),
            &Request::new(Split::Test).limit(70),
        );
        let hundred = hundred.unwrap();
        publish(folder.path(), &hundred, &[(Corruption::Fog, [1, 2, 3, 4, 5])]);
        let survey = of_published_fog(folder.path());
        survey.check(&hundred).unwrap();
    }

    #[test]
    fn published_images_of_other_classes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let request = Request::new(Split::Test).limit(20);
        let mut images =
            Dataset::synthetic(&"synthetic:10x3x32x32".parse().unwrap(), &request).unwrap();
        publish(folder.path(), &images, &[(Corruption::Fog, [1, 2, 3, 4, 5])]);
        let survey = of_published_fog(folder.path());
        // The copies have CIFAR-10's names.
        images.classes = Dataset::open(&folder.path().join("fog.npy"), &request).unwrap().classes;
        survey.check(&images).unwrap();
        images.classes.swap(3, 5);
        let error = survey.check(&images).unwrap_err().to_string();
        assert!(error.ends_with("expected class 3 to be `dog`, found `cat`"), "{error}");
    }
}
