//! The vocabulary of Rift: what the three programs agree on.
//!
//! Networks are data ([`arch`]), datasets are read by content ([`dataset`]), a threat model is a
//! value ([`threat`]), images get corrupted as the benchmarks do it ([`corruption`]), every file that
//! crosses a stage has its type here ([`artifact`]) and may be signed ([`signature`]), ONNX is data too
//! ([`onnx`]), and the models that ship have names ([`zoo`]). The programs fail and describe themselves alike
//! ([`program`]) and write pages ([`markup`]). Nothing here links a native library.

pub mod arch;
pub mod artifact;
pub mod corruption;
pub mod dataset;
pub mod markup;
pub mod onnx;
pub mod program;
pub mod signature;
pub mod threat;
pub mod zoo;
