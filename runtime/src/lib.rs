//! Serves ONNX classifiers and attacks the very file that it serves.
//!
//! [`session`] opens models on ONNX Runtime, [`autodiff`] extends them by their own gradient,
//! [`attack`] follows it, and [`audit`] says how the model fared. With the feature `server`, `server`
//! answers others, and holds what stands between a stranger's file and all of these.

pub mod attack;
pub mod audit;
pub mod autodiff;
pub mod picture;
pub mod prediction;
#[cfg(feature = "server")]
pub mod server;
pub mod session;

#[cfg(test)]
#[path = "../tests/small_models.rs"]
mod small_models;
