//! The pipeline, in order.

mod evaluate;
pub mod finetune;
pub mod interpolate;
pub mod mrc;
pub mod rift;

#[cfg(test)]
pub(crate) mod fixture;
mod state;
pub mod train;

pub use evaluate::{Evaluation, Plan, evaluate};
pub use train::{Job, TrainError, Training};

#[cfg(test)]
mod tests;
