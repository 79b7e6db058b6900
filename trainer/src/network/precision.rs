//! In which numbers a network computes.

use std::fmt;
use std::str::FromStr;

use rift_models::arch::Op;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::TorchError;

/// The numbers in which a network computes. Weights, statistics, losses and images are `f32`
/// whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in `f32`.
    #[default]
    Float32,
    /// As `Float32`, but the tensor cores of an NVIDIA GPU may round what they multiply in a
    /// convolution to 10 bits of significand. PyTorch's default; for processors there is none.
    Tf32,
    /// Convolutions in bfloat16, which has the range of `f32` and 8 bits of significand; batch
    /// normalisation and the head stay `f32`. Nothing underflows that would not in `f32`, so no
    /// loss is scaled.
    Bf16,
}

/// A precision's name that is not known.
#[derive(Debug, thiserror::Error)]
#[error("unknown precision `{0}`, expected `float32`, `tf32` or `bf16`")]
pub struct PrecisionError(String);

impl FromStr for Precision {
    type Err = PrecisionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "float32" => Ok(Self::Float32),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(PrecisionError(text.to_owned())),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

/// A precision that a device does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "precision `tf32` is one of NVIDIA GPUs, found the device `{0:?}`: use `float32` or `bf16`"
)]
pub struct NoTf32(Device);

impl Precision {
    /// Whether `device` has it.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(self, device: Device) -> Result<(), NoTf32> {
        match (self, device) {
            (Self::Tf32, Device::Cuda(_)) | (Self::Float32 | Self::Bf16, _) => Ok(()),
            (Self::Tf32, _) => Err(NoTf32(device)),
        }
    }

    /// The kind that an operator wants its input in; `None` takes it as it comes.
    ///
    /// In bf16 a convolution computes in bf16, and what follows it stays so: batch normalisation
    /// sums in `f32` inside, and a ReLU or a sum of half the bytes takes half the time. The head
    /// (pooling and linear layers) is `f32` again: it costs nothing, and logits of 8 bits would tie.
    pub(super) fn kind(self, op: &Op) -> Option<Kind> {
        match (self, op) {
            (Self::Float32 | Self::Tf32, _)
            | (
                _,
                Op::BatchNorm2d { .. } | Op::Relu | Op::Add | Op::AvgPool2d { .. } | Op::Flatten,
            ) => None,
            (Self::Bf16, Op::Conv2d { .. }) => Some(Kind::BFloat16),
            (Self::Bf16, Op::Normalize { .. } | Op::GlobalAvgPool | Op::Linear { .. }) => {
                Some(Kind::Float)
            }
        }
    }
}

/// The tensor as `kind`, itself where it is so already; gradients flow back in its own kind.
pub(super) fn cast(tensor: &Tensor, kind: Option<Kind>) -> Result<Tensor, TorchError> {
    Ok(match kind {
        Some(kind) => tensor.f_to_kind(kind)?,
        None => tensor.shallow_clone(),
    })
}
