//! Training: epochs of steps, each followed by validation, with a state to resume from in between.

mod error;
mod every;
mod judge;
mod position;
mod save;
mod state;
mod steps;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use rift_models::arch::Graph;
use rift_models::artifact::atomic::{self, AtomicError};
use rift_models::artifact::{Checkpoint, CheckpointMeta, Digest};
use tch::Device;

pub use error::{Difference, Divergence, TrainError};
pub use every::{Every, EveryError};
pub use position::Position;

use self::every::Timer;
use self::state::{Description, NETWORK, STEPPER, TrainingState, VELOCITY};
use self::steps::{Pace, Pending};
use super::{Stepper, Stop};
use crate::config::Settings;
use crate::data::ImageSet;
use crate::network::Network;
use crate::optim::Sgd;
use crate::record::tensorboard::{Cut, EventLog};
use crate::record::{EpochMetrics, Progress};

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
    events: EventLog,
    pace: Pace,
    /// Some training images, judged like those of validation; none where none are wanted.
    monitor: Option<ImageSet>,
    /// Since when the seconds of the epoch are not counted.
    clock: Instant,
    timer: Timer,
    /// Where the last state was written.
    saved: Option<Position>,
    /// The best checkpoint, while the disk has no room for it.
    unwritten_best: Option<Checkpoint>,
    disk_failed: bool,
    /// Epochs that are in the records.
    recorded: usize,
    /// The folder is this training's as long as this is open; nothing where folders have no locks.
    lock: Option<File>,
}

/// Makes the run's folder, and takes it for this process until it ends, however it ends.
fn lock(run: &Path) -> Result<Option<File>, TrainError> {
    let open = || {
        std::fs::create_dir_all(run)?;
        File::open(run)
    };
    let folder = open().map_err(|error| AtomicError::new(run, error))?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Err(TrainError::Busy(run.to_owned())),
        // Some file systems have no locks; they are no reason not to train.
        Err(TryLockError::Error(_)) => Ok(None),
    }
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
        let lock = lock(&job.run)?;
        let path = job.run.join(STATE);
        let state = if path.exists() { Some(TrainingState::read(&path)?) } else { None };
        let mut training = match state {
            Some(state) if resume => Self::from_state(job, state, every)?,
            Some(TrainingState { description, .. }) => {
                let (at, epochs) = (description.position, description.settings.epochs);
                return Err(TrainError::Exists { run: job.run, at, epochs });
            }
            None => {
                let network =
                    Network::initialise(job.graph.clone(), job.settings.seed, job.device)?;
                Self::new(job, network, Position::default(), every)?
            }
        };
        training.lock = lock;
        training.network.unfreeze()?;
        remove_leftovers(&training.job.run);
        atomic::write(&training.file(SETTINGS), training.job.settings.to_toml()?.as_bytes())?;
        // A kill between the files of an epoch leaves the records behind the state.
        training.write_records()?;
        Ok(training)
    }

    fn new(
        job: Job,
        network: Network,
        position: Position,
        every: Every,
    ) -> Result<Self, TrainError> {
        let network = network.with_precision(job.settings.precision);
        let batches = job.loader().len();
        let cut = Cut {
            step: position.epochs * batches + position.step,
            unjudged: position.step == batches,
        };
        let monitor = job.settings.monitor_limit.min(job.train.len());
        Ok(Self {
            events: EventLog::open(&job.run, cut)?,
            pace: Pace::new(),
            monitor: (monitor > 0).then(|| job.train.spread(monitor)).transpose()?,
            sgd: Sgd::new(job.settings.sgd()),
            stepper: Stepper::new(job.settings.step_settings(), &network)?,
            network,
            job: Rc::new(job),
            epochs: Vec::new(),
            position,
            pending: Vec::new(),
            last: None,
            clock: Instant::now(),
            timer: Timer::new(every),
            saved: None,
            unwritten_best: None,
            disk_failed: false,
            recorded: 0,
            lock: None,
        })
    }

    fn from_state(job: Job, state: TrainingState, every: Every) -> Result<Self, TrainError> {
        let differences = state.description.differences(&job.settings, &job.data)?;
        if !differences.is_empty() {
            return Err(TrainError::Changed { run: job.run, differences });
        }
        let tensors = state.section(NETWORK);
        let network = Network::from_tensors(job.graph.clone(), &tensors, job.device)?;
        let [velocity, stepper] = [VELOCITY, STEPPER].map(|section| state.section(section));
        let Description { position, epochs, .. } = state.description;
        let mut training = Self::new(job, network, position.clone(), every)?;
        training.sgd.restore(&velocity, &training.network)?;
        training.stepper.restore(stepper)?;
        (training.saved, training.epochs) = (Some(position), epochs);
        Ok(training)
    }

    /// What is trained on what.
    pub fn job(&self) -> &Job {
        &self.job
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
        self.position = self.position.next_epoch();
        let step = self.position.epochs * self.job.loader().len();
        self.events.scalars(step, &metrics.scalars());
        self.epochs.push(metrics);
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
