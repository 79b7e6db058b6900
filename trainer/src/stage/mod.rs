//! The pipeline, in order.

mod evaluate;

pub use evaluate::{Evaluation, Plan, evaluate};
