//! Clean and robust accuracy of a network.

use rift_models::artifact::Accuracy;
use rift_models::threat::AttackSpec;
use tch::{Device, Tensor};

use super::Stop;
use crate::attack;
use crate::data::ImageSet;
use crate::network::{Mode, Network, TorchError, to_indices};
use crate::record::Progress;

/// What to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Images in a batch; the verdicts do not depend on it.
    pub batch: usize,
    /// Only the first so many images.
    pub limit: Option<usize>,
    /// The attack; without one only clean accuracy is measured.
    pub attack: Option<&'a AttackSpec>,
    /// Whether the adversarial images are kept.
    pub keep_images: bool,
    /// Ends the evaluation early: there are fewer verdicts then.
    pub stop: Option<&'a Stop>,
}

impl Plan<'_> {
    /// Everything in batches of 256, clean only.
    pub fn clean() -> Self {
        Self { batch: 256, limit: None, attack: None, keep_images: false, stop: None }
    }

    /// The number of images that it evaluates of a set.
    pub fn images(&self, set: &ImageSet) -> usize {
        self.limit.unwrap_or(usize::MAX).min(set.len())
    }
}

/// A verdict for every image, in the order of the set.
#[derive(Debug)]
pub struct Evaluation {
    /// Whether each image is classified correctly as it is.
    pub clean: Vec<bool>,
    /// Whether each image is classified correctly under attack; the same as `clean` without one.
    pub robust: Vec<bool>,
    /// The adversarial images on the processor, `N × C × H × W`, where they were to be kept.
    pub images: Option<Tensor>,
}

impl Evaluation {
    /// The accuracy on the images as they are.
    pub fn clean_accuracy(&self) -> Accuracy {
        Accuracy::of(&self.clean)
    }

    /// The accuracy under attack.
    pub fn robust_accuracy(&self) -> Accuracy {
        Accuracy::of(&self.robust)
    }
}

/// Judges the images of `set` by `network`, in evaluation mode and `f32`; the precision of the
/// network steers the attack only.
///
/// # Errors
/// If libtorch fails.
pub fn evaluate(
    network: &Network,
    set: &ImageSet,
    plan: &Plan<'_>,
    progress: &Progress,
) -> Result<Evaluation, TorchError> {
    let mut evaluation = Evaluation { clean: Vec::new(), robust: Vec::new(), images: None };
    let mut kept = Vec::new();
    let exact = network.exact()?;
    for batch in set.batches(plan.batch, plan.limit) {
        if plan.stop.is_some_and(|stop| stop.requested().is_some()) {
            break;
        }
        let batch = batch?;
        let labels = to_indices(&batch.labels)?;
        let correct = |classes: &[usize]| -> Vec<bool> {
            classes.iter().zip(&labels).map(|(class, label)| class == label).collect()
        };
        if let Some(spec) = plan.attack {
            let outcome = attack::attack(network, &batch, spec)?;
            evaluation.clean.extend(correct(&outcome.clean));
            evaluation.robust.extend(&outcome.robust);
            if plan.keep_images {
                kept.push(outcome.images.f_to_device(Device::Cpu)?);
            }
        } else {
            let logits = tch::no_grad(|| exact.forward(&batch.images, Mode::Eval))?;
            let clean = correct(&attack::pgd::predictions(&logits)?);
            evaluation.robust.extend(&clean);
            evaluation.clean.extend(clean);
        }
        progress.advance(labels.len());
    }
    if !kept.is_empty() {
        evaluation.images = Some(Tensor::f_cat(&kept, 0)?);
    }
    Ok(evaluation)
}
