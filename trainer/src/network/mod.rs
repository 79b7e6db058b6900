//! The interpreter of [`rift_models::arch`] on libtorch.
//!
//! A [`Network`] is a graph and its named tensors on a device. Tensors are `f32`; convolutions may
//! compute in bf16 ([`Precision`]).

mod build;
pub mod device;
mod error;
mod fold;
mod forward;
mod gradient;
mod layout;
mod params;
mod precision;

pub use build::Network;
pub use device::DeviceChoice;
pub use error::{NetworkError, TorchError};
pub use forward::{Activations, Mode};
pub use gradient::{cross_entropy, gradient_in, gradient_of, input_gradient};
pub(crate) use layout::channels_last;
pub use params::{TrainModulesError, to_array, to_indices, to_tensor, to_vec};
pub use precision::{NoTf32, Precision, PrecisionError};

#[cfg(test)]
mod precision_tests;
#[cfg(test)]
mod tests;
