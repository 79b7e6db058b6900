//! Sessions of ONNX Runtime: the library, one classifier, a pool of them.

pub mod library;
