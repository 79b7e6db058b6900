//! Training: epochs of steps, each followed by validation and a state to resume from.

use std::path::{Path, PathBuf};
use std::time::Instant;

use rift_models::arch::Graph;
use rift_models::artifact::atomic::AtomicError;
use rift_models::artifact::{
    Checkpoint, CheckpointError, CheckpointMeta, Digest, TensorFileError, atomic,
};
use rift_models::threat::NoiseKey;
use tch::{Device, Kind, Tensor};

use super::evaluate::{Plan, evaluate};
use super::state::{Description, TrainingState};
use crate::config::{ConfigError, Settings};
use crate::data::{Augment, ImageSet, Loader};
use crate::network::{Network, NetworkError, TorchError};
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

/// After so many batches the loss is looked at: seldom enough not to make a GPU wait.
const LOOK: usize = 16;

/// A training that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The run folder holds a training, and it was not asked to be resumed.
    #[error(
        "`{run}` holds a training after epoch {done} of {epochs}: continue it with `--resume`, or choose another `--out`"
    )]
    Exists {
        /// The folder.
        run: PathBuf,
        /// Epochs done.
        done: usize,
        /// Epochs in all.
        epochs: usize,
    },
    /// The run in the folder has other settings.
    #[error(
        "`{run}` was started with `{key}` = {found}, now it is {given}: a training resumes with its own settings only"
    )]
    Changed {
        /// The folder.
        run: PathBuf,
        /// The first setting that differs.
        key: String,
        /// The run's.
        found: String,
        /// The one that was given.
        given: String,
    },
    /// The loss is no number any more.
    #[error(
        "the loss is {loss} in epoch {epoch}: the training diverged, try a lower learning rate"
    )]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// The loss.
        loss: f64,
    },
    /// The state cannot be read or written.
    #[error("the state of the training")]
    State(#[source] TensorFileError),
    /// The description of the state does not parse.
    #[error("`{path}` is not the state of a training")]
    Describe {
        /// The file.
        path: PathBuf,
        /// Where it fails.
        #[source]
        source: serde_json::Error,
    },
    /// The state is of another version.
    #[error("`{path}` has state format {found}, this version reads {expected}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The settings cannot be written as a file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
    /// The network cannot be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

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
    /// Their digest.
    pub data: Digest,
    /// The images that judge the epochs.
    pub validation: ImageSet,
    /// The run's folder.
    pub run: PathBuf,
    /// Where to compute.
    pub device: Device,
}

/// A training between two epochs.
#[derive(Debug)]
pub struct Training {
    job: Job,
    network: Network,
    sgd: Sgd,
    epochs: Vec<EpochMetrics>,
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

/// What an epoch of steps came to.
struct Steps {
    loss: f64,
    accuracy: f64,
    rate: f64,
}

impl Training {
    /// Starts a training, or goes on from the state in the run's folder if `resume` says so and
    /// there is one.
    ///
    /// # Errors
    /// If the folder holds a training and `resume` does not say so, or it has other settings.
    pub fn open(job: Job, resume: bool) -> Result<Self, TrainError> {
        let path = job.run.join(STATE);
        let state = if path.exists() { Some(TrainingState::read(&path)?) } else { None };
        let mut training = match state {
            Some(state) if resume => Self::from_state(job, &state)?,
            Some(TrainingState { description, .. }) => {
                let (done, epochs) = (description.epochs.len(), description.settings.epochs);
                return Err(TrainError::Exists { run: job.run, done, epochs });
            }
            None => {
                let network =
                    Network::initialise(job.graph.clone(), job.settings.seed, job.device)?;
                let sgd = Sgd::new(job.settings.sgd());
                Self { job, network, sgd, epochs: Vec::new() }
            }
        };
        let precision = training.job.settings.precision;
        training.network = training.network.with_precision(precision);
        training.network.unfreeze()?;
        remove_leftovers(&training.job.run);
        atomic::write(&training.file(SETTINGS), training.job.settings.to_toml()?.as_bytes())?;
        // A kill between the two files of an epoch leaves the metrics behind the state.
        metrics::write(&training.file(METRICS), &training.epochs)?;
        Ok(training)
    }

    fn from_state(job: Job, state: &TrainingState) -> Result<Self, TrainError> {
        let Description { settings, data, epochs, .. } = &state.description;
        let changed = |key: &str, found: String, given: String| TrainError::Changed {
            run: job.run.clone(),
            key: key.to_owned(),
            found,
            given,
        };
        if let Some((key, found, given)) = settings.difference(&job.settings)? {
            return Err(changed(&key, found, given));
        }
        if *data != job.data {
            let [found, given] = [data, &job.data].map(|digest| digest.short().to_owned());
            return Err(changed("digest of the training images", found, given));
        }
        let network = Network::from_tensors(job.graph.clone(), &state.network, job.device)?;
        let mut sgd = Sgd::new(job.settings.sgd());
        sgd.restore(&state.velocity, &network)?;
        Ok(Self { network, sgd, epochs: epochs.clone(), job })
    }

    /// The epochs done.
    pub fn epochs(&self) -> &[EpochMetrics] {
        &self.epochs
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
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

    /// Trains one epoch, judges it and writes what a resumed training needs.
    ///
    /// # Errors
    /// If the loss diverges, libtorch fails or the disk is full.
    pub fn epoch(&mut self, progress: &Progress) -> Result<&EpochMetrics, TrainError> {
        let start = Instant::now();
        let steps = self.steps(progress)?;
        let mut metrics = self.judge(&steps)?;
        metrics.best = self.best().is_none_or(|best| metrics.score() > best.score());
        metrics.seconds = start.elapsed().as_secs_f64();
        let best = metrics.best;
        self.epochs.push(metrics);
        // The checkpoint comes before the state: a kill between them repeats this epoch, which
        // writes the same checkpoint again.
        if best {
            self.checkpoint(&self.file(BEST))?;
        }
        let description =
            Description::new(self.job.settings.clone(), self.job.data.clone(), self.epochs.clone());
        let (network, velocity) = (self.network.state()?, self.sgd.state()?);
        TrainingState { description, network, velocity }.write(&self.file(STATE))?;
        metrics::write(&self.file(METRICS), &self.epochs)?;
        Ok(&self.epochs[self.epochs.len() - 1])
    }

    /// Writes the network as it is now to the run's folder.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn write_last(&self) -> Result<Digest, TrainError> {
        self.checkpoint(&self.file(LAST))
    }

    fn steps(&mut self, progress: &Progress) -> Result<Steps, TrainError> {
        let settings = &self.job.settings;
        let input = self.job.train.input();
        let augment = Augment {
            pad: settings.pad.unwrap_or_else(|| Augment::pad_for(input)),
            flip: settings.flip.unwrap_or(input[0] == 3),
        };
        let loader = Loader {
            set: &self.job.train,
            batch: settings.batch_size,
            augment,
            seed: settings.seed,
        };
        let epoch = self.epochs.len();
        let (spec, schedule) = (settings.attack(), settings.schedule());
        let key = NoiseKey { seed: settings.seed, attack: "train", restart: epoch as u32 };
        let batches = loader.len();
        let mut sums = Tensor::f_zeros([2], (Kind::Double, self.job.device))?;
        let (mut seen, mut rate) = (0, 0.0);
        for (index, batch) in loader.epoch(epoch).enumerate() {
            let batch = batch?;
            let n = batch.indices.len();
            // The rate in the middle of the step, so that no step of a cycle is of length zero.
            rate = schedule.at(epoch as f64 + (index as f64 + 0.5) / batches as f64);
            let step = settings.method.loss(&self.network, &batch, &spec, &key)?;
            self.sgd.step(&self.network, &step.loss, rate)?;
            let loss = step.loss.f_detach()?.f_to_kind(Kind::Double)?.f_mul_scalar(n as f64)?;
            let correct = step.correct.f_to_kind(Kind::Double)?;
            sums = sums.f_add(&Tensor::f_stack(&[loss, correct], 0)?)?;
            seen += n;
            progress.advance(n);
            if index % LOOK == 0 || index + 1 == batches {
                let loss = sums.f_double_value(&[0])? / seen as f64;
                if !loss.is_finite() {
                    return Err(TrainError::Diverged { epoch: epoch + 1, loss });
                }
                progress.say(format!("loss {loss:.3}"));
            }
        }
        let [loss, correct] = [sums.f_double_value(&[0])?, sums.f_double_value(&[1])?];
        Ok(Steps { loss: loss / seen as f64, accuracy: correct / seen as f64, rate })
    }

    fn judge(&self, steps: &Steps) -> Result<EpochMetrics, TrainError> {
        let settings = &self.job.settings;
        let attack = settings.validation_attack();
        let adversarial = settings.method.is_adversarial();
        let plan = Plan {
            limit: Some(settings.validation_limit),
            attack: adversarial.then_some(&attack),
            ..Plan::clean()
        };
        let judged = evaluate(&self.network, &self.job.validation, &plan, &Progress::hidden())?;
        Ok(EpochMetrics {
            epoch: self.epochs.len() + 1,
            learning_rate: steps.rate,
            train_loss: steps.loss,
            train_accuracy: steps.accuracy,
            validation_n: judged.clean.len(),
            validation_clean: judged.clean_accuracy().correct,
            validation_robust: adversarial.then(|| judged.robust_accuracy().correct),
            best: false,
            seconds: 0.0,
        })
    }

    fn checkpoint(&self, path: &Path) -> Result<Digest, TrainError> {
        let mut meta = self.job.meta.clone();
        if let (Some(settings), Some(last)) =
            (meta.lineage.settings.as_object_mut(), self.epochs.last())
        {
            settings.insert("epoch".to_owned(), last.epoch.into());
        }
        Ok(Checkpoint { meta, tensors: self.network.state()? }.write(path)?)
    }
}
