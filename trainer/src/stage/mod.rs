//! The pipeline, in order.

mod evaluate;
mod state;
pub mod train;

pub use evaluate::{Evaluation, Plan, evaluate};
pub use train::{Job, TrainError, Training};

#[cfg(test)]
mod tests;
