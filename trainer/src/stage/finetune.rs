//! Fine-tuning on clean images: of one module, by default, the least critical one.
//!
//! # References
//! Robust Critical Fine-Tuning, arXiv 2308.02533, section 3.2.

use std::fmt;

use rift_models::arch::{Graph, UnknownModule};
use rift_models::artifact::{Accuracy, TensorMap};
use serde::{Deserialize, Serialize};
use tch::Reduction;

use super::{Plan, evaluate, not_finite};
use crate::data::{Augment, ImageSet, Loader};
use crate::network::{Mode, Network, NetworkError, TorchError, TrainModulesError, cross_entropy};
use crate::optim::{Sgd, SgdSettings};
use crate::record::Progress;

/// What moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The weights, and biases where there are some, of the modules with exactly these names.
    Modules(Vec<String>),
    /// Every trained parameter of the network, batch normalisation's too.
    All,
    /// The last module, which gives the logits.
    Last,
    /// No parameter: only the running statistics of batch normalisation are estimated anew on clean
    /// images, which is what the gain of the others has to be held against.
    Statistics,
}

impl Scope {
    /// The modules whose weights move, in network order.
    ///
    /// # Errors
    /// If a name is not a module's; the error offers near ones.
    pub fn modules(&self, graph: &Graph) -> Result<Vec<String>, UnknownModule> {
        let all = graph.modules().map(str::to_owned);
        match self {
            Self::All => Ok(all.collect()),
            Self::Statistics => Ok(Vec::new()),
            Self::Last => Ok(all.last().into_iter().collect()),
            Self::Modules(names) => {
                let mut nodes =
                    names.iter().map(|n| graph.module(n)).collect::<Result<Vec<_>, _>>()?;
                nodes.sort_unstable();
                nodes.dedup();
                Ok(nodes.into_iter().map(|node| graph.nodes[node].name.clone()).collect())
            }
        }
    }
}

/// What batch normalisation does while fine-tuning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormPolicy {
    /// As the reference implementation: the whole network in training mode, so that all running
    /// statistics drift towards those of clean images, and are interpolated later with the weights.
    #[default]
    Reference,
    /// The whole network in evaluation mode: the running statistics stay as they are.
    Frozen,
}

impl fmt::Display for BatchNormPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::Frozen => "frozen",
        })
    }
}

/// How a network is fine-tuned.
#[derive(Clone, Debug)]
pub struct FinetuneSettings {
    /// What moves.
    pub scope: Scope,
    /// What batch normalisation does.
    pub batch_norm: BatchNormPolicy,
    /// The learning rate of the first half of the epochs; a tenth of it in the second.
    pub lr: f64,
    /// Passes over the images.
    pub epochs: usize,
    /// Images in a batch.
    pub batch: usize,
    /// The optimiser.
    pub sgd: SgdSettings,
    /// What is done to each image.
    pub augment: Augment,
    /// The seed of order and augmentation.
    pub seed: u64,
}

impl FinetuneSettings {
    /// The paper's settings for images of `input`: SGD with momentum 0.9, weight decay 5e-4, 10
    /// epochs at 1e-3, a tenth of it from the sixth on, batches of 128. Images of three channels are
    /// mirrored, since digits and the like do not look the same in a mirror.
    pub fn paper(scope: Scope, input: [usize; 3]) -> Self {
        Self {
            scope,
            batch_norm: BatchNormPolicy::Reference,
            lr: 1e-3,
            epochs: 10,
            batch: 128,
            sgd: SgdSettings {
                momentum: 0.9,
                nesterov: false,
                weight_decay: 5e-4,
                decay_batch_norm: true,
            },
            augment: Augment { pad: Augment::pad_for(input), flip: input[0] == 3 },
            seed: 0,
        }
    }

    /// The settings as a report has them; what moves is said beside them.
    pub fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "batch_norm": self.batch_norm,
            "lr": self.lr,
            "epochs": self.epochs,
            "batch_size": self.batch,
            "pad": self.augment.pad,
            "flip": self.augment.flip,
            "seed": self.seed,
        })
    }

    /// Checks what is to be done to images of `input`, before there are any.
    ///
    /// # Errors
    /// If there is no epoch, nothing would move, or more is reflected than there is.
    pub fn check(&self, input: [usize; 3]) -> Result<(), FinetuneError> {
        if self.epochs == 0 {
            return Err(FinetuneError::Epochs);
        }
        if (&self.scope, self.batch_norm) == (&Scope::Statistics, BatchNormPolicy::Frozen) {
            return Err(FinetuneError::Nothing);
        }
        let pad = self.augment.pad;
        if pad >= input[1].min(input[2]) {
            return Err(FinetuneError::Pad { pad, input });
        }
        Ok(())
    }

    /// The learning rate of an epoch, from 0.
    fn lr_at(&self, epoch: usize) -> f64 {
        if 2 * epoch >= self.epochs { self.lr * 0.1 } else { self.lr }
    }
}

/// One pass over the images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FinetuneEpoch {
    /// Its number, from 1.
    pub epoch: usize,
    /// The learning rate.
    pub lr: f64,
    /// The mean loss on the way.
    pub loss: f64,
    /// The accuracy on the validation images afterwards.
    pub clean: Accuracy,
}

/// A fine-tuned network.
#[derive(Clone, Debug)]
pub struct Finetuned {
    /// The modules whose weights moved.
    pub modules: Vec<String>,
    /// All epochs.
    pub epochs: Vec<FinetuneEpoch>,
    /// The epoch of the best accuracy on the validation images, from 1; the earliest of equals.
    pub best: usize,
    /// The weights and statistics after that epoch.
    pub state: TensorMap,
}

/// A network that cannot be fine-tuned.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// A name that is not a module's.
    #[error(transparent)]
    Module(#[from] UnknownModule),
    /// Nothing to do.
    #[error("expected at least 1 epoch, found 0")]
    Epochs,
    /// Nothing would change.
    #[error("neither parameters nor statistics would move, expected `--batch-norm reference`")]
    Nothing,
    /// More reflection than there are pixels.
    #[error("pad {pad} does not fit images of {input:?}, expected less than their sides")]
    Pad {
        /// Pixels at each border.
        pad: usize,
        /// Channels, height, width.
        input: [usize; 3],
    },
    /// The training diverged.
    #[error("{what} epoch {epoch} is {found}, expected a finite number (try a smaller `--lr`)")]
    NotFinite {
        /// The epoch, from 1.
        epoch: usize,
        /// The mean loss of it, or a tensor after it.
        what: String,
        /// The number.
        found: f64,
    },
    /// The network cannot be copied.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<TrainModulesError> for FinetuneError {
    fn from(error: TrainModulesError) -> Self {
        match error {
            TrainModulesError::Module(error) => Self::Module(error),
            TrainModulesError::Torch(error) => Self::Torch(error),
        }
    }
}

/// Fine-tunes a copy of `network` on the clean images of `train` and takes the epoch that does best
/// on those of `validation`.
///
/// # Errors
/// If a module does not exist, the training diverges or libtorch fails.
pub fn finetune(
    network: &Network,
    [train, validation]: [&ImageSet; 2],
    settings: &FinetuneSettings,
    progress: &Progress,
) -> Result<Finetuned, FinetuneError> {
    settings.check(train.input())?;
    let modules = settings.scope.modules(network.graph())?;
    let network = network.copy()?;
    if settings.scope == Scope::All {
        network.unfreeze()?;
    } else {
        let names: Vec<&str> = modules.iter().map(String::as_str).collect();
        network.train_modules(&names)?;
    }
    let mut sgd = Sgd::new(settings.sgd);
    let mut epochs: Vec<FinetuneEpoch> = Vec::new();
    let mut best: Option<(FinetuneEpoch, TensorMap)> = None;
    for epoch in 0..settings.epochs {
        let lr = settings.lr_at(epoch);
        let loss = one_epoch(&network, train, settings, (&mut sgd, epoch), progress)?;
        // The last step may have left what no loss has met yet.
        let state = network.state()?;
        check_finite(epoch + 1, loss, &state)?;
        let verdicts = evaluate(&network, validation, &Plan::clean(), &Progress::hidden())?;
        let row = FinetuneEpoch { epoch: epoch + 1, lr, loss, clean: verdicts.clean_accuracy() };
        progress.say(format!("clean {:.2} %", row.clean.percent()));
        if best.as_ref().is_none_or(|(best, _)| row.clean.correct > best.clean.correct) {
            best = Some((row.clone(), state));
        }
        epochs.push(row);
    }
    let (best, state) = best.ok_or(FinetuneError::Epochs)?;
    Ok(Finetuned { modules, epochs, best: best.epoch, state })
}

/// Checks that neither the loss of an epoch nor what it left is beyond all numbers.
fn check_finite(epoch: usize, loss: f64, state: &TensorMap) -> Result<(), FinetuneError> {
    let (what, found) = if loss.is_finite() {
        let Some((name, value)) = not_finite(state) else { return Ok(()) };
        (format!("`{name}` after"), f64::from(value))
    } else {
        ("the loss of".to_owned(), loss)
    };
    Err(FinetuneError::NotFinite { epoch, what, found })
}

/// Goes once over the images; gives the mean loss.
fn one_epoch(
    network: &Network,
    train: &ImageSet,
    settings: &FinetuneSettings,
    (sgd, epoch): (&mut Sgd, usize),
    progress: &Progress,
) -> Result<f64, TorchError> {
    let mode = match settings.batch_norm {
        BatchNormPolicy::Reference => Mode::Train,
        BatchNormPolicy::Frozen => Mode::Eval,
    };
    let FinetuneSettings { batch, augment, seed, .. } = *settings;
    let (mut sum, mut seen) = (0.0, 0);
    for batch in (Loader { set: train, extra: None, batch, augment, seed }).epoch(epoch) {
        let batch = batch?;
        let loss =
            cross_entropy(&network.forward(&batch.images, mode)?, &batch.labels, Reduction::Mean)?;
        if loss.requires_grad() {
            sgd.step(network, &loss, settings.lr_at(epoch))?;
        }
        let n = batch.indices.len();
        sum += loss.f_double_value(&[])? * n as f64;
        seen += n;
        progress.advance(n);
    }
    Ok(sum / seen as f64)
}

#[cfg(test)]
mod tests;
