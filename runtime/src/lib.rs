//! Serves ONNX classifiers and attacks the very file that it serves.
//!
//! [`session`] opens models on ONNX Runtime, [`autodiff`] extends them by their own gradient.

pub mod autodiff;
pub mod session;
