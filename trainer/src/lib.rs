//! Adversarial training and Robust Critical Fine-Tuning (arXiv 2308.02533) on libtorch.

pub mod attack;
pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod import;
pub mod network;
pub mod objective;
pub mod optim;
pub mod record;
pub mod stage;
