//! What a training leaves on the disk, and what it does when the disk is full.

use std::collections::BTreeMap;

use rift_models::artifact::{Checkpoint, atomic};
use serde_json::json;

use super::state::{Description, NETWORK, STEPPER, TrainingState, VELOCITY};
use super::steps::{Pace, Pending};
use super::{BEST, DIVERGED, Divergence, Job, METRICS, STATE, TrainError, Training};
use crate::record::{Progress, figures, metrics};

impl Training {
    /// Writes what a resumed training needs.
    ///
    /// The best checkpoint and the events come before the state that counts on them, and the metrics
    /// after: a kill between two of the files repeats some steps, which write the same again.
    ///
    /// # Errors
    /// If a file cannot be written, or the numbers are no longer finite.
    pub(super) fn save(&mut self) -> Result<(), TrainError> {
        self.look()?;
        self.tick();
        if let Some(best) = &self.unwritten_best {
            best.write(&self.file(BEST))?;
            self.unwritten_best = None;
        }
        self.events.sync()?;
        let (settings, data) = (self.job.settings.clone(), self.job.data.clone());
        let (position, epochs) = (self.position.clone(), self.epochs.clone());
        let description = Description::new(settings, data, position.clone(), epochs);
        // Whatever else a training remembers from step to step gets a section here, and is restored
        // from it in `Training::from_state`.
        let sections = BTreeMap::from([
            (NETWORK.to_owned(), self.network.state()?),
            (VELOCITY.to_owned(), self.sgd.state()?),
            (STEPPER.to_owned(), self.stepper.state()?),
        ]);
        let state = TrainingState { description, sections };
        if let (Some(_), Some(last)) = (state.broken(), &self.last) {
            return Err(self.diverged("a weight", f64::NAN, last));
        }
        state.write(&self.file(STATE))?;
        if self.recorded < self.epochs.len() {
            self.write_records()?;
        }
        self.saved = Some(position);
        self.timer.reset();
        self.pace = Pace::new();
        Ok(())
    }

    /// Writes what a resumed training needs, or says why it could not and lets the training go on:
    /// the next state may find room again.
    pub(super) fn save_or_warn(&mut self, progress: &Progress) -> Result<(), TrainError> {
        match self.save() {
            Ok(()) if self.disk_failed => {
                self.disk_failed = false;
                progress.warn(format!("`{}` can be written again", self.job.run.display()));
                Ok(())
            }
            Err(error) if error.is_of_the_disk() => {
                self.disk_failed = true;
                // Not at the next step: a disk does not empty itself in a second.
                self.timer.reset();
                progress.warn(format!("{}; the training goes on without", error.chain()));
                Ok(())
            }
            other => other,
        }
    }

    /// Writes what the epochs came to, for people and their programs.
    pub(super) fn write_records(&mut self) -> Result<(), TrainError> {
        metrics::write(&self.file(METRICS), &self.epochs)?;
        if !self.epochs.is_empty() {
            let figure = figures::training(&self.epochs, &self.describe());
            figure.write(&self.file(figures::TRAINING))?;
        }
        self.recorded = self.epochs.len();
        Ok(())
    }

    /// The training in a few words.
    fn describe(&self) -> String {
        let Job { settings, train, .. } = &*self.job;
        let threat = settings.method.is_adversarial().then(|| settings.validation_attack().label());
        format!(
            "{}, {} on {} images{}",
            settings.arch,
            settings.method,
            train.len(),
            threat.map(|threat| format!(", robust: {threat}")).unwrap_or_default()
        )
    }

    /// The network as it is judged and shipped, with what it says of itself.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        let mut meta = self.job.meta.clone();
        if let (Some(settings), Some(last)) =
            (meta.lineage.settings.as_object_mut(), self.epochs.last())
        {
            settings.insert("epoch".to_owned(), last.epoch.into());
        }
        Ok(Checkpoint { meta, tensors: self.shipped().state()? })
    }

    /// The error for a step that left the numbers. All of its images are in a file beside the state.
    pub(super) fn diverged(&self, what: &'static str, loss: f64, step: &Pending) -> TrainError {
        let report = self.file(DIVERGED);
        let state = self.saved.clone().map(|position| (self.file(STATE), position));
        let divergence = Divergence {
            what,
            loss,
            epoch: self.position.epochs + 1,
            step: step.step,
            rate: step.rate,
            images: step.images.clone(),
            state,
            report,
        };
        let content = json!({
            "what": what,
            "value": loss.to_string(),
            "epoch": divergence.epoch,
            "step": divergence.step,
            "learning_rate": divergence.rate,
            "images": divergence.images,
            "state": divergence.state.as_ref().map(|(path, _)| path),
        });
        // The message says the most of it, also where the disk is full.
        let _ = atomic::write_json(&divergence.report, &content);
        TrainError::Diverged(Box::new(divergence))
    }
}
