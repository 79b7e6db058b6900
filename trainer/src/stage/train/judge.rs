//! What an epoch came to.

use super::{TrainError, Training};
use crate::record::{EpochMetrics, Progress};
use crate::stage::{Plan, Stop, evaluate};

impl Training {
    /// Judges the network at the end of an epoch; nothing if it was told to stop on the way.
    pub(super) fn judge(&self, stop: &Stop) -> Result<Option<EpochMetrics>, TrainError> {
        let settings = &self.job.settings;
        let attack = settings.validation_attack();
        let adversarial = settings.method.is_adversarial();
        let plan = Plan {
            limit: Some(settings.validation_limit),
            attack: adversarial.then_some(&attack),
            stop: Some(stop),
            ..Plan::clean()
        };
        let judged = evaluate(self.shipped(), &self.job.validation, &plan, &Progress::hidden())?;
        let known = match &self.monitor {
            Some(images) => {
                let plan = Plan { limit: None, ..plan };
                Some(evaluate(self.shipped(), images, &plan, &Progress::hidden())?)
            }
            None => None,
        };
        // Fewer verdicts than images are those of an evaluation that was left off.
        if stop.requested().is_some() {
            return Ok(None);
        }
        let position = &self.position;
        Ok(Some(EpochMetrics {
            epoch: position.epochs + 1,
            learning_rate: position.rate,
            train_loss: position.mean_loss(),
            train_accuracy: position.accuracy(),
            training_n: known.as_ref().map_or(0, |known| known.clean.len()),
            training_clean: known.as_ref().map_or(0, |known| known.clean_accuracy().correct),
            training_robust: known
                .as_ref()
                .filter(|_| adversarial)
                .map(|known| known.robust_accuracy().correct),
            validation_n: judged.clean.len(),
            validation_clean: judged.clean_accuracy().correct,
            validation_robust: adversarial.then(|| judged.robust_accuracy().correct),
            best: false,
            seconds: 0.0,
        }))
    }
}
