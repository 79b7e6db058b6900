//! The exporter from outside: its ONNX files against a plain interpreter, its program as a process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what tests say with them, they expect")]

mod audit;
mod deploy;
mod evidence;
mod export;
mod figures;
mod fixture;
mod gradient;
mod kill;
mod network;
mod parity;
mod peers;
mod places;
mod quantize;
mod quantize_foreign;
mod quantize_limits;
mod reference;
mod schema;
mod sign;
mod verify;
