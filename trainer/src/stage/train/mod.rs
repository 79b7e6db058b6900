//! Training: epochs of steps, each followed by validation, with a state to resume from in between.

mod error;
mod every;
mod judge;
mod position;
mod save;
mod state;
mod steps;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use rift_models::arch::Graph;
use rift_models::artifact::{Checkpoint, CheckpointMeta, Digest, atomic};
use tch::Device;

pub use error::{Difference, Divergence, TrainError};
pub use every::{Every, EveryError};
pub use position::Position;

use self::every::Timer;
use self::state::{Description, NETWORK, STEPPER, TrainingState, VELOCITY};
use self::steps::Pending;
use super::{Stepper, Stop};
use crate::config::Settings;
use crate::data::ImageSet;
use crate::network::{Network, TorchError};
use crate::optim::Sgd;
use crate::record::{EpochMetrics, Progress, metrics};

/// The best checkpoint of a run.
pub const BEST: &str = "at.safetensors";
/// The last checkpoint of a finished run.
pub const LAST: &str = "last.safetensors";
/// The state that a run resumes from.
pub const STATE: &str = "state.safetensors";
/// The resolved settings of a run.
pub const SETTINGS: &str = "run.toml";
/// The epochs of a run.
pub const METRICS: &str = "metrics.jsonl";
/// The step at which a run diverged.
pub const DIVERGED: &str = "diverged.json";

/// What to train, on what, and where it goes.
#[derive(Debug)]
pub struct Job {
    /// The settings, with nothing left open.
    pub settings: Settings,
    /// The network.
    pub graph: Graph,
    /// What its checkpoints say of themselves.
    pub meta: CheckpointMeta,
    /// The training images.
    pub train: ImageSet,
    /// What is mixed in, at the fraction of the settings.
    pub extra: Option<ImageSet>,
    /// The digest of all of them.
    pub data: Digest,
    /// The images that judge the epochs.
    pub validation: ImageSet,
    /// The run's folder.
    pub run: PathBuf,
    /// Where to compute.
    pub device: Device,
}

/// A training between two steps.
#[derive(Debug)]
pub struct Training {
    job: Rc<Job>,
    network: Network,
    sgd: Sgd,
    stepper: Stepper,
    epochs: Vec<EpochMetrics>,
    position: Position,
    /// Steps that were not looked at yet.
    pending: Vec<Pending>,
    /// The last step that was.
    last: Option<Pending>,
    /// Since when the seconds of the epoch are not counted.
    clock: Instant,
    timer: Timer,
    /// Where the last state was written.
    saved: Option<Position>,
    /// The best checkpoint, while the disk has no room for it.
    unwritten_best: Option<Checkpoint>,
    disk_failed: bool,
}

/// Removes what a killed training was writing when it was killed: half files under temporary names,
/// each as large as a state. What cannot be removed does no harm.
fn remove_leftovers(run: &Path) {
    let Ok(entries) = std::fs::read_dir(run) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".rift-") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

impl Training {
    /// Starts a training, or goes on from the state in the run's folder if `resume` says so and
    /// there is one. A state is written `every` so often, and at each epoch's end.
    ///
    /// # Errors
    /// If the folder holds a training and `resume` does not say so, or it has other settings.
    pub fn open(job: Job, resume: bool, every: Every) -> Result<Self, TrainError> {
        let path = job.run.join(STATE);
        let state = if path.exists() { Some(TrainingState::read(&path)?) } else { None };
        let training = match state {
            Some(state) if resume => Self::from_state(job, state, every)?,
            Some(TrainingState { description, .. }) => {
                let (at, epochs) = (description.position, description.settings.epochs);
                return Err(TrainError::Exists { run: job.run, at, epochs });
            }
            None => {
                let network =
                    Network::initialise(job.graph.clone(), job.settings.seed, job.device)?;
                Self::new(job, network, every)?
            }
        };
        training.network.unfreeze()?;
        remove_leftovers(&training.job.run);
        atomic::write(&training.file(SETTINGS), training.job.settings.to_toml()?.as_bytes())?;
        // A kill between the two files of an epoch leaves the metrics behind the state.
        metrics::write(&training.file(METRICS), &training.epochs)?;
        Ok(training)
    }

    fn new(job: Job, network: Network, every: Every) -> Result<Self, TorchError> {
        let network = network.with_precision(job.settings.precision);
        Ok(Self {
            sgd: Sgd::new(job.settings.sgd()),
            stepper: Stepper::new(job.settings.step_settings(), &network)?,
            network,
            job: Rc::new(job),
            epochs: Vec::new(),
            position: Position::default(),
            pending: Vec::new(),
            last: None,
            clock: Instant::now(),
            timer: Timer::new(every),
            saved: None,
            unwritten_best: None,
            disk_failed: false,
        })
    }

    fn from_state(job: Job, state: TrainingState, every: Every) -> Result<Self, TrainError> {
        let differences = state.description.differences(&job.settings, &job.data)?;
        if !differences.is_empty() {
            return Err(TrainError::Changed { run: job.run, differences });
        }
        let tensors = state.section(NETWORK);
        let network = Network::from_tensors(job.graph.clone(), &tensors, job.device)?;
        let mut training = Self::new(job, network, every)?;
        training.sgd.restore(&state.section(VELOCITY), &training.network)?;
        training.stepper.restore(state.section(STEPPER))?;
        let Description { position, epochs, .. } = state.description;
        training.saved = Some(position.clone());
        (training.position, training.epochs) = (position, epochs);
        Ok(training)
    }

    /// The epochs done.
    pub fn epochs(&self) -> &[EpochMetrics] {
        &self.epochs
    }

    /// Where the training is.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network that is judged and written as a checkpoint.
    fn shipped(&self) -> &Network {
        self.stepper.shipped(&self.network)
    }

    /// The best epoch so far.
    pub fn best(&self) -> Option<&EpochMetrics> {
        self.epochs.iter().rev().find(|epoch| epoch.best)
    }

    /// Whether every epoch is done.
    pub fn is_finished(&self) -> bool {
        self.epochs.len() >= self.job.settings.epochs
    }

    /// Images that an epoch trains on.
    pub fn images_per_epoch(&self) -> usize {
        self.job.train.len()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.job.run.join(name)
    }

    /// Counts the seconds since it was called last.
    fn tick(&mut self) {
        self.position.seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
    }

    /// Trains what is left of an epoch, judges it and writes what a resumed training needs.
    ///
    /// `None` if it was told to stop: then the step under way is done and the state is written.
    ///
    /// # Errors
    /// If the loss diverges, libtorch fails, or it was told to stop and the state cannot be
    /// written. Without being told to stop, a full disk is no error yet: see [`finish`](Self::finish).
    pub fn epoch(
        &mut self,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Option<&EpochMetrics>, TrainError> {
        self.clock = Instant::now();
        if !self.steps(progress, stop)? {
            return Ok(None);
        }
        // An attack on a thousand images takes its time, in which a kill should cost little.
        if self.timer.steps() > 0 {
            self.save_or_warn(progress)?;
        }
        let Some(metrics) = self.judge(stop)? else {
            self.save()?;
            return Ok(None);
        };
        self.close(metrics)?;
        self.save_or_warn(progress)?;
        Ok(self.epochs.last())
    }

    /// Ends the epoch under way.
    fn close(&mut self, mut metrics: EpochMetrics) -> Result<(), TrainError> {
        self.tick();
        metrics.best = self.best().is_none_or(|best| metrics.score() > best.score());
        metrics.seconds = self.position.seconds;
        let best = metrics.best;
        self.epochs.push(metrics);
        self.position = Position { epochs: self.epochs.len(), ..Position::default() };
        if best {
            self.unwritten_best = Some(self.checkpoint()?);
        }
        Ok(())
    }

    /// Writes the network as it is now, and what the disk had no room for before.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn finish(&mut self) -> Result<Digest, TrainError> {
        if self.disk_failed {
            self.save()?;
        }
        Ok(self.checkpoint()?.write(&self.file(LAST))?)
    }
}
