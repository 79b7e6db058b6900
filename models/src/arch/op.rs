//! The closed set of operators and what each of them learns.

use serde::{Deserialize, Serialize};

/// One operator of a network, with its hyper-parameters.
///
/// # Shapes
/// Images are `N × C × H × W`, features after [`Op::Flatten`] are `N × F`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// `(x − mean) / std` for each channel: the first node of every network, so that everything
    /// outside it speaks in pixels.
    Normalize {
        /// Means, a number a channel, in pixel units.
        mean: Vec<f32>,
        /// Standard deviations, a number a channel, in pixel units.
        std: Vec<f32>,
    },
    /// Two-dimensional convolution with a square kernel, zero padding, no groups.
    Conv2d {
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
        /// Zeros added at each border.
        padding: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation over `N`, `H` and `W` (Ioffe & Szegedy 2015, algorithm 1).
    BatchNorm2d {
        /// Channels.
        channels: usize,
        /// Added to the variance.
        eps: f64,
        /// Weight of a new batch in the running statistics.
        momentum: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// The sum of two values of one shape.
    Add,
    /// The mean over windows of `kernel × kernel` that do not overlap.
    AvgPool2d {
        /// Side and stride of the window.
        kernel: usize,
    },
    /// The mean over all positions: `N × C × H × W` to `N × C × 1 × 1`.
    GlobalAvgPool,
    /// All dimensions but the first into one.
    Flatten,
    /// `x Wᵀ + b`.
    Linear {
        /// Input features.
        in_features: usize,
        /// Output features.
        out_features: usize,
        /// Whether a bias is added.
        bias: bool,
    },
}

/// What a parameter is to its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The weight of a convolution or a linear layer.
    Weight,
    /// The bias of a convolution or a linear layer.
    Bias,
    /// The scale γ of a batch normalisation.
    Scale,
    /// The shift β of a batch normalisation.
    Shift,
    /// The running mean of a batch normalisation: a buffer, not trained.
    RunningMean,
    /// The running variance of a batch normalisation: a buffer, not trained.
    RunningVar,
}

impl Role {
    /// Whether gradient descent changes it; running statistics are buffers.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVar)
    }
}

/// The distribution a parameter is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every value the same.
    Constant(f32),
    /// Uniform in `[−bound, bound)`.
    Uniform {
        /// Half the width.
        bound: f32,
    },
}

/// One parameter or buffer of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// The last part of its name, as PyTorch has it: `weight`, `running_mean`.
    pub suffix: &'static str,
    /// Its shape, in PyTorch's order of dimensions.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
    /// What it is to its operator.
    pub role: Role,
}

impl Op {
    /// The operator's parameters and buffers, in PyTorch's order.
    ///
    /// Weights and biases start as `torch.nn.Conv2d` and `torch.nn.Linear` start them:
    /// `kaiming_uniform(a = √5)`, which is uniform within `1/√fan_in`.
    pub fn params(&self) -> Vec<ParamSpec> {
        match *self {
            Self::Conv2d { in_channels, out_channels, kernel, bias, .. } => {
                weight_and_bias(vec![out_channels, in_channels, kernel, kernel], bias)
            }
            Self::Linear { in_features, out_features, bias } => {
                weight_and_bias(vec![out_features, in_features], bias)
            }
            Self::BatchNorm2d { channels, .. } => [
                ("weight", 1.0, Role::Scale),
                ("bias", 0.0, Role::Shift),
                ("running_mean", 0.0, Role::RunningMean),
                ("running_var", 1.0, Role::RunningVar),
            ]
            .into_iter()
            .map(|(suffix, value, role)| ParamSpec {
                suffix,
                shape: vec![channels],
                init: Init::Constant(value),
                role,
            })
            .collect(),
            Self::Normalize { .. }
            | Self::Relu
            | Self::Add
            | Self::AvgPool2d { .. }
            | Self::GlobalAvgPool
            | Self::Flatten => Vec::new(),
        }
    }

    /// Whether it is a module in the paper's sense: a layer with a weight of its own, whose
    /// criticality is measured.
    pub fn is_module(&self) -> bool {
        matches!(self, Self::Conv2d { .. } | Self::Linear { .. })
    }
}

fn weight_and_bias(shape: Vec<usize>, bias: bool) -> Vec<ParamSpec> {
    let fan_in: usize = shape[1..].iter().product();
    let init = Init::Uniform { bound: 1.0 / (fan_in as f32).sqrt() };
    let outputs = shape[0];
    let mut params = vec![ParamSpec { suffix: "weight", shape, init, role: Role::Weight }];
    if bias {
        params.push(ParamSpec { suffix: "bias", shape: vec![outputs], init, role: Role::Bias });
    }
    params
}
