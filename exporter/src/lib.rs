//! Freezes Rift checkpoints to ONNX, with evidence.
//!
//! A checkpoint's batch normalisations are folded ([`fold`]), the network is printed as ONNX
//! ([`lower`]), and the file is held against the checkpoint's own logits ([`verify`]) before a
//! bundle is written ([`bundle`]): whole or not at all. [`quantize`] makes such a model smaller and
//! faster, and says what that costs.

pub mod attestation;
pub mod bundle;
pub mod cli;
pub mod commands;
pub mod fold;
pub mod layout;
pub mod lower;
pub mod quantize;
pub mod verify;
pub mod yaml;
