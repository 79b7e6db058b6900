//! The interpreter of [`rift_models::arch`] on libtorch.
//!
//! A [`Network`] is a graph and its named tensors on a device. Everything is `f32`.

mod build;
pub mod device;
mod error;
mod fold;
mod forward;
mod gradient;
mod layout;
mod params;

pub use build::Network;
pub use device::DeviceChoice;
pub use error::{NetworkError, TorchError};
pub use forward::{Activations, Mode};
pub use gradient::{cross_entropy, gradient_in, gradient_of, input_gradient};
pub(crate) use layout::channels_last;
pub use params::{TrainModulesError, to_array, to_indices, to_tensor, to_vec};

#[cfg(test)]
mod tests;
