//! ONNX as data.
