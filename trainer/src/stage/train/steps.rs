//! The steps of an epoch.

use std::rc::Rc;
use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::{Job, TrainError, Training};
use crate::data::{Augment, Extra, Loader};
use crate::network::TorchError;
use crate::objective::StepLoss;
use crate::record::Progress;
use crate::stage::{Moment, Stop};

/// After so many steps the losses are fetched: seldom enough not to make a GPU wait.
const LOOK: usize = 16;

/// A step whose loss was not looked at yet.
#[derive(Debug)]
pub(super) struct Pending {
    /// Loss and correct images, on the device.
    figures: Tensor,
    /// The batch, by places in the training images.
    pub(super) images: Vec<usize>,
    /// The step within the epoch, from 1.
    pub(super) step: usize,
    pub(super) rate: f64,
}

impl Pending {
    fn new(
        step: &StepLoss,
        images: Vec<usize>,
        number: usize,
        rate: f64,
    ) -> Result<Self, TorchError> {
        let loss = step.loss.f_detach()?.f_to_kind(Kind::Double)?;
        let correct = step.correct.f_to_kind(Kind::Double)?;
        let figures = Tensor::f_stack(&[loss, correct], 0)?;
        Ok(Self { figures, images, step: number, rate })
    }
}

impl Job {
    /// The order in which the images are seen, and what is done to them.
    pub(in crate::stage) fn loader(&self) -> Loader<'_> {
        let (settings, set) = (&self.settings, &self.train);
        let augment = Augment {
            pad: settings.pad.unwrap_or_else(|| Augment::pad_for(set.input())),
            flip: settings.flip.unwrap_or(set.input()[0] == 3),
        };
        let fraction = settings.extra_fraction.unwrap_or(0.0);
        let extra = self.extra.as_ref().map(|set| Extra { set, fraction });
        Loader { set, extra, batch: settings.batch_size, augment, seed: settings.seed }
    }
}

/// How fast it goes, without what is done between the steps.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    images: usize,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), images: 0 }
    }

    fn images_per_second(&self) -> f64 {
        self.images as f64 / self.since.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl Training {
    /// Goes through what is left of the epoch; `false` if it was told to stop on the way.
    pub(super) fn steps(&mut self, progress: &Progress, stop: &Stop) -> Result<bool, TrainError> {
        let job = Rc::clone(&self.job);
        let (settings, epoch) = (&job.settings, self.position.epochs);
        let loader = job.loader();
        let (batches, first) = (loader.len(), self.position.step);
        let schedule = settings.schedule();
        self.pace = Pace::new();
        for (index, batch) in (first..batches).zip(loader.epoch_from(epoch, first)) {
            let batch = batch?;
            // The rate in the middle of the step, so that no step of a cycle is of length zero.
            let rate = schedule.at(epoch as f64 + (index as f64 + 0.5) / batches as f64);
            let seed = settings.seed;
            let moment = Moment { epoch, step: index, steps: batches, rate, seed };
            let step = self.stepper.step(&self.network, &mut self.sgd, &batch, moment)?;
            self.position.step = index + 1;
            progress.advance(batch.indices.len());
            self.pace.images += batch.indices.len();
            self.pending.push(Pending::new(&step, batch.indices, index + 1, rate)?);
            let (done, record) = self.steps_done();
            if index == first || record {
                self.look()?;
                progress.say(format!("loss {:.3}", self.position.mean_loss()));
            }
            if record {
                self.record(done);
            }
            let due = self.timer.step();
            if stop.requested().is_some() {
                self.save()?;
                return Ok(false);
            }
            if due && index + 1 < batches {
                self.save_or_warn(progress)?;
            }
        }
        self.look()?;
        Ok(true)
    }

    /// The steps done in all, and whether they are recorded here. It depends on nothing else, so a
    /// training that was interrupted is recorded at the same steps.
    fn steps_done(&self) -> (usize, bool) {
        let done = self.position.epochs * self.job.loader().len() + self.position.step;
        (done, done.is_multiple_of(LOOK))
    }

    /// Records the steps since the last record.
    fn record(&mut self, step: usize) {
        let position = &mut self.position;
        let loss = position.recent_loss / position.recent_images.max(1) as f64;
        (position.recent_loss, position.recent_images) = (0.0, 0);
        self.events.scalars(
            step,
            &[
                ("train/loss", loss),
                ("train/learning_rate", position.rate),
                ("train/images_per_second", self.pace.images_per_second()),
            ],
        );
        // A full disk shows when the state is written.
        let _ = self.events.flush();
        self.pace = Pace::new();
    }

    /// Fetches the figures of the steps that were not looked at, and adds them up.
    ///
    /// # Errors
    /// If a loss is no finite number: it names the first step with such a loss, however many steps
    /// there were since.
    pub(super) fn look(&mut self) -> Result<(), TrainError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let figures: Vec<&Tensor> = self.pending.iter().map(|step| &step.figures).collect();
        let figures = Tensor::f_stack(&figures, 0)?.f_to_device(Device::Cpu)?;
        for (place, step) in self.pending.iter().enumerate() {
            let [loss, correct] =
                [0, 1].map(|column| figures.f_double_value(&[place as i64, column]));
            let (loss, correct) = (loss?, correct?);
            if !loss.is_finite() {
                return Err(self.diverged("the loss", loss, step));
            }
            self.position.add(loss, correct, step.images.len(), step.rate);
        }
        self.last = self.pending.pop();
        self.pending.clear();
        Ok(())
    }
}
