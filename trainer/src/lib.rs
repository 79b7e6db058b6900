//! Adversarial training and Robust Critical Fine-Tuning (arXiv 2308.02533) on libtorch.

pub mod attack;
pub mod data;
pub mod import;
pub mod network;
