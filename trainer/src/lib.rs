//! Adversarial training and Robust Critical Fine-Tuning.

pub mod import;
