//! The pipeline, in order.

mod evaluate;
pub mod finetune;
pub mod interpolate;
pub mod mrc;
pub mod rift;

#[cfg(test)]
pub(crate) mod fixture;

pub use evaluate::{Evaluation, Plan, evaluate};
