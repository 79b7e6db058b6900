//! Gradients of any classifier's ONNX graph, as ordinary operators.
//!
//! Builds of ONNX Runtime for inference have no gradient operators. Here a graph is extended by its
//! own reverse pass, written with operators that every build has, so that what is differentiated is
//! what is served. [`loss_gradient`] puts the loss inside the graph: an attack step is one run,
//! forward once and backward once. [`vector_jacobian`] takes the cotangent from outside instead.
//!
//! Models in any operator set from 7 on and in any floating-point type are first brought into one
//! form ([`rift_models::onnx::plain`]): the graphs are `float`, also where the model is not.
//!
//! [`support`] says in advance which operators on the way from the image to the logits have no rule.
//! A rule returns contributions and only the tape adds them.

mod build;
mod emit;
mod error;
mod form;
mod forward;
mod head;
mod interface;
mod registry;
mod rule;
mod rules;
mod support;
mod tape;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use build::{loss_gradient, loss_gradient_at, vector_jacobian, vector_jacobian_at};
pub use error::{AutodiffError, Unsupported};
pub use form::Form;
pub use head::Head;
pub use interface::{Interface, Layout, Logits};
pub use registry::{has_rule, operators};
pub use support::{support, support_at};
