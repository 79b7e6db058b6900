//! What a network is judged on at the end, on images by which nothing was chosen.

use ndarray::Array4;
use rift_models::artifact::CorruptionVerdicts;
use rift_models::corruption::{Survey, SurveyError};
use rift_models::dataset::Dataset;
use rift_models::threat::AttackSpec;

use super::{Evaluation, Plan, evaluate};
use crate::attack::pgd::predictions;
use crate::data::ImageSet;
use crate::network::{Mode, Network, TorchError, to_tensor};
use crate::record::Progress;

/// Images as they are, under attack and, where it is asked for, corrupted.
#[derive(Clone, Copy, Debug)]
pub struct Exam<'a> {
    /// The images.
    pub images: &'a ImageSet,
    /// The attack.
    pub threat: &'a AttackSpec,
    /// Images in a batch; the verdicts do not depend on it.
    pub batch: usize,
    /// Corruptions, and the images that are corrupted.
    pub survey: Option<(&'a Survey, &'a Dataset)>,
}

/// The verdicts on a network.
#[derive(Debug)]
pub struct Judged {
    /// On the images as they are and under attack.
    pub evaluation: Evaluation,
    /// Out of distribution.
    pub corrupted: Option<CorruptionVerdicts>,
}

impl Exam<'_> {
    /// How many images a network is asked about.
    pub fn len(&self) -> usize {
        self.images.len() + self.survey.map_or(0, |(survey, images)| survey.images(images))
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Judges a network; `what` is for the progress bar.
    ///
    /// # Errors
    /// If libtorch fails, or the images cannot be corrupted.
    pub fn judge(
        &self,
        what: &str,
        network: &Network,
        progress: &Progress,
    ) -> Result<Judged, SurveyError<TorchError>> {
        progress.say(what);
        let plan = Plan { batch: self.batch, attack: Some(self.threat), ..Plan::clean() };
        let evaluation =
            evaluate(network, self.images, &plan, progress).map_err(SurveyError::Classifier)?;
        let corrupted = self
            .survey
            .map(|(survey, images)| corrupted(network, (survey, images), progress))
            .transpose()?;
        Ok(Judged { evaluation, corrupted })
    }
}

/// Which of the images a network gets right under every corruption of the survey, in evaluation mode
/// and `f32`.
///
/// # Errors
/// If libtorch fails, or the images cannot be corrupted.
pub fn corrupted(
    network: &Network,
    (survey, images): (&Survey, &Dataset),
    progress: &Progress,
) -> Result<CorruptionVerdicts, SurveyError<TorchError>> {
    let exact = network.exact().map_err(SurveyError::Classifier)?;
    let classify = |images: Array4<f32>| -> Result<Vec<usize>, TorchError> {
        let images = to_tensor(&images.into_dyn(), network.device())?;
        predictions(&tch::no_grad(|| exact.forward(&images, Mode::Eval))?)
    };
    survey.run(images, classify, |_, images| progress.advance(images))
}
