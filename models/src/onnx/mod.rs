//! ONNX as data: reading with suspicion, walking, and writing graphs.
//!
//! A [`Model`] that exists has been checked: its graph is there, every stored tensor has exactly the
//! bytes that its shape asks for, nothing lies outside the file and nothing hides in a subgraph.
//! [`with_external_data`] brings inside what lies beside a file.
//! [`GraphIndex`] answers who makes and who reads a value, [`Attributes`] reads a node's settings,
//! [`tensor`] moves numbers to and from `ndarray`, and [`GraphBuilder`] writes.
//!
//! ```
//! use rift_models::onnx::{DataType, Dim, GraphBuilder, GraphIndex, Model};
//!
//! let mut builder = GraphBuilder::new("double", 17);
//! let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(3)])?;
//! let y = builder.node("Add", &[&x, &x], vec![]);
//! builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]);
//! let bytes = builder.finish()?.to_bytes();
//!
//! let model = Model::from_bytes(&bytes)?;
//! assert_eq!(model.opset(), 17);
//! assert_eq!(GraphIndex::new(&model)?.consumers("x"), [0, 0]);
//! # Ok::<(), rift_models::onnx::OnnxError>(())
//! ```

pub mod attribute;
mod check;
mod edit;
mod external;
mod graph;
mod model;
mod names;
mod plain;
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated from onnx.proto, which documents it"
)]
pub mod proto;
pub mod tensor;
mod value;
mod wire;

pub use attribute::{AttributeError, Attributes};
pub use edit::GraphBuilder;
pub use external::with_external_data;
pub use graph::{GraphError, GraphIndex, is_default_domain};
pub use model::{MAX_BYTES, Model, OnnxError, decode};
pub use names::Names;
pub use plain::{OLDEST_OPSET, PLAIN_OPSET, plain};
pub use proto::tensor_proto::DataType;
pub use tensor::TensorError;
pub use value::{Dim, TensorType};
pub use wire::{next_field, unknown_field};
