//! Networks as data.
//!
//! A network is a [`Graph`] over the closed set of operators [`Op`]. The trainer interprets it on
//! libtorch, the exporter prints it as ONNX, the criticality stage cuts it at a module. A new
//! operator does not compile until each of them knows it.
//!
//! To add an architecture: write its file here, give it a name in [`spec`].

mod build;
mod graph;
pub mod init;
mod op;
mod preact_resnet;
mod resnet;
mod shape;
pub mod spec;
pub mod upstream;
mod wide_resnet;

pub(crate) use graph::nearest;
pub use graph::{Graph, Node, Parameter, UnknownModule, Value};
pub use op::{Init, Op, ParamSpec, Role};
pub use shape::ShapeError;
pub use spec::{ArchError, ArchSpec};
