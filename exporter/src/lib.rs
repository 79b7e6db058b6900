//! Freezes Rift checkpoints to ONNX, with evidence.
//!
//! A checkpoint's batch normalisations are folded ([`fold`]), the network is printed as ONNX
//! ([`lower`]), and the file is held against the checkpoint's own logits ([`verify`]) before a
//! bundle is written ([`bundle`]): whole or not at all.

pub mod bundle;
pub mod cli;
pub mod commands;
pub mod fold;
pub mod lower;
pub mod verify;
