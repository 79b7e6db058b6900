//! The settings as flags.

use std::path::PathBuf;

use clap::Args;
use rift_models::threat::{Epsilon, Norm};
use serde::Serialize;

use crate::attack::{CraftMode, InnerLoss, Start};
use crate::network::Precision;
use crate::objective::Method;
use crate::optim::ScheduleKind;
use crate::stage::OnOverfitting;

/// The settings as flags. What is given goes before the file, which goes before the preset.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct SettingFlags {
    /// The data set: a folder or file, recognised by content, or `synthetic:…`.
    #[arg(long, value_name = "PATH", env = "RIFT_DATA")]
    pub(super) data: Option<PathBuf>,
    /// Only the first N training images.
    #[arg(long, value_name = "N", env = "RIFT_LIMIT")]
    pub(super) limit: Option<usize>,
    /// More images of the same classes: an archive `.npz` of `image` and `label`, as published sets
    /// of generated images are.
    #[arg(long, value_name = "FILE", env = "RIFT_EXTRA_DATA")]
    pub(super) extra_data: Option<PathBuf>,
    /// Their part of each batch, 0.7 by default. An epoch has as many batches as without them.
    #[arg(long, value_name = "PART", env = "RIFT_EXTRA_FRACTION")]
    pub(super) extra_fraction: Option<f64>,
    /// The architecture: `resnet18`, `resnet34`, `wrn34-10`, `resnet20` …
    #[arg(long, env = "RIFT_ARCH")]
    pub(super) arch: Option<String>,
    /// Channels of the first stage, where the architecture lets them be chosen.
    #[arg(long, value_name = "N", env = "RIFT_WIDTH")]
    pub(super) width: Option<usize>,
    /// What to minimise: `at` (adversarial training), `trades`, `mart`, `score`, `fast-at` or
    /// `standard`.
    #[arg(long, env = "RIFT_METHOD")]
    pub(super) method: Option<Method>,
    /// The weight of the second term of `trades` (6 by default) and `mart` (5); with it `score`
    /// takes the form of TRADES instead of adversarial training's.
    #[arg(long, env = "RIFT_BETA")]
    pub(super) beta: Option<f64>,
    /// The part of a label that `score` lets go: 0.4 by default, 0.3 in the form of TRADES.
    #[arg(long, value_name = "PART", env = "RIFT_LOSS_CLIP")]
    pub(super) loss_clip: Option<f64>,
    /// The part of a label that goes to the other classes, in even shares.
    #[arg(long, value_name = "PART", env = "RIFT_LABEL_SMOOTHING")]
    pub(super) label_smoothing: Option<f64>,
    /// Perturb the weights too: adversarial weight perturbation, around any method.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        env = "RIFT_AWP"
    )]
    pub(super) awp: Option<bool>,
    /// How far, in lengths of the weight: 0.01 by default, 0.005 with `trades`.
    #[arg(long, value_name = "PART", env = "RIFT_AWP_GAMMA")]
    pub(super) awp_gamma: Option<f64>,
    /// Epochs before the weights are perturbed.
    #[arg(long, value_name = "N", env = "RIFT_AWP_WARMUP")]
    pub(super) awp_warmup: Option<usize>,
    /// The norm of the ball, `linf` or `l2`.
    #[arg(long, env = "RIFT_NORM")]
    pub(super) norm: Option<Norm>,
    /// The ball's radius in pixel units, such as `8/255`. The step of the attack keeps its part of
    /// it, unless `--step` is given.
    #[arg(long, env = "RIFT_EPS")]
    pub(super) eps: Option<Epsilon>,
    /// The length of a step of the attack in pixel units, such as `2/255`.
    #[arg(long, env = "RIFT_STEP")]
    pub(super) step: Option<Epsilon>,
    /// Steps of the attack.
    #[arg(long, value_name = "N", env = "RIFT_STEPS")]
    pub(super) steps: Option<usize>,
    /// What the attack ascends; by default what the method's authors do.
    #[arg(long, value_enum, env = "RIFT_INNER_LOSS")]
    pub(super) inner_loss: Option<InnerLoss>,
    /// Where the attack starts; by default where the method's authors do.
    #[arg(long, value_enum, env = "RIFT_START")]
    pub(super) start: Option<Start>,
    /// What batch normalisation does while the attack searches.
    #[arg(long, value_enum, env = "RIFT_CRAFT_MODE")]
    pub(super) craft_mode: Option<CraftMode>,
    /// Steps of `fast-at` between two looks at catastrophic overfitting.
    #[arg(long, value_name = "N", env = "RIFT_PROBE_EVERY")]
    pub(super) probe_every: Option<usize>,
    /// Steps of the attack that looks, and that takes over.
    #[arg(long, value_name = "N", env = "RIFT_PROBE_STEPS")]
    pub(super) probe_steps: Option<usize>,
    /// What follows from catastrophic overfitting.
    #[arg(long, value_enum, env = "RIFT_ON_OVERFITTING")]
    pub(super) on_overfitting: Option<OnOverfitting>,
    /// Epochs. A preset's milestones move along, and stay at least an epoch before the end.
    #[arg(long, value_name = "N", env = "RIFT_EPOCHS")]
    pub(super) epochs: Option<usize>,
    /// Images in a batch.
    #[arg(long, value_name = "N", env = "RIFT_BATCH_SIZE")]
    pub(super) batch_size: Option<usize>,
    /// The first learning rate, or the peak of the cycle.
    #[arg(long = "lr", visible_alias = "learning-rate", value_name = "RATE", env = "RIFT_LR")]
    pub(super) learning_rate: Option<f64>,
    /// The shape of the learning rate: `steps`, `one-cycle`, `cosine` or `cyclic`.
    #[arg(long, env = "RIFT_SCHEDULE")]
    pub(super) schedule: Option<ScheduleKind>,
    /// Epochs after which the rate of `steps` falls, such as `100,105`; before the last.
    #[arg(long, value_name = "EPOCHS", value_delimiter = ',', env = "RIFT_MILESTONES")]
    pub(super) milestones: Option<Vec<usize>>,
    /// The factor by which the rate of `steps` falls.
    #[arg(long, value_name = "FACTOR", env = "RIFT_DECAY")]
    pub(super) decay: Option<f64>,
    /// The part of the training in which the rate of `one-cycle` and `cyclic` rises.
    #[arg(long, value_name = "PART", env = "RIFT_WARMUP")]
    pub(super) warmup: Option<f64>,
    /// The momentum.
    #[arg(long, env = "RIFT_MOMENTUM")]
    pub(super) momentum: Option<f64>,
    /// Whether to look ahead along the momentum.
    #[arg(long, value_name = "BOOL", env = "RIFT_NESTEROV")]
    pub(super) nesterov: Option<bool>,
    /// The penalty on the weights.
    #[arg(long, env = "RIFT_WEIGHT_DECAY")]
    pub(super) weight_decay: Option<f64>,
    /// Whether the penalty falls on batch normalisation too.
    #[arg(long, value_name = "BOOL", env = "RIFT_DECAY_BATCH_NORM")]
    pub(super) decay_batch_norm: Option<bool>,
    /// The longest gradient that is followed; longer ones are scaled down.
    #[arg(long, value_name = "LENGTH", env = "RIFT_CLIP_GRADIENT")]
    pub(super) clip_gradient: Option<f64>,
    /// Average the weights over the training, such as 0.995: so much of the average is kept at a
    /// step. The average is what is judged and kept.
    #[arg(long, value_name = "PART", env = "RIFT_EMA")]
    pub(super) ema: Option<f64>,
    /// The part of the training before the average sets in, 0.025 by default.
    #[arg(long, value_name = "PART", env = "RIFT_EMA_WARMUP")]
    pub(super) ema_warmup: Option<f64>,
    /// Pixels of reflection around an image before it is cropped; an eighth of its side by default.
    #[arg(long, value_name = "PIXELS", env = "RIFT_PAD")]
    pub(super) pad: Option<usize>,
    /// Whether to mirror half of the images; by default where they have three channels, since
    /// digits and letters must not be.
    #[arg(long, value_name = "BOOL", env = "RIFT_FLIP")]
    pub(super) flip: Option<bool>,
    /// Channel means that normalise the input; those of the training images by default.
    #[arg(long, value_name = "M,…", value_delimiter = ',', env = "RIFT_MEAN")]
    pub(super) mean: Option<Vec<f32>>,
    /// Channel standard deviations that normalise the input.
    #[arg(long, value_name = "S,…", value_delimiter = ',', env = "RIFT_STD")]
    pub(super) std: Option<Vec<f32>>,
    /// At most so many validation images are judged after each epoch.
    #[arg(long, value_name = "N", env = "RIFT_VALIDATION_LIMIT")]
    pub(super) validation_limit: Option<usize>,
    /// Steps of the attack that judges after each epoch.
    #[arg(long, value_name = "N", env = "RIFT_VALIDATION_STEPS")]
    pub(super) validation_steps: Option<usize>,
    /// So many training images, spread over the set, are judged like those of validation, so that
    /// robust overfitting shows; 0 for none.
    #[arg(long, value_name = "N", env = "RIFT_MONITOR_LIMIT")]
    pub(super) monitor_limit: Option<usize>,
    /// In which numbers the network computes while it trains: `float32`, `bf16`, or on
    /// a GPU `tf32`. Whatever it is, weights are kept and epochs are judged in `float32`.
    #[arg(long, env = "RIFT_PRECISION")]
    pub(super) precision: Option<Precision>,
    /// The seed of weights, order, augmentation and noise.
    // TOML's integers are signed.
    #[arg(long, env = "RIFT_SEED", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(super) seed: Option<u64>,
}
