//! Serves ONNX classifiers and attacks the very file that it serves.
//!
//! [`session`] opens models on ONNX Runtime, [`attack`] attacks them.

pub mod attack;
pub mod session;
