//! The exporter from outside: its ONNX files against a plain interpreter, its program as a process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what tests say with them, they expect")]

mod audit;
mod deploy;
mod export;
mod figures;
mod fixture;
mod gradient;
mod kill;
mod parity;
mod peers;
mod quantize;
mod reference;
mod schema;
mod sign;
mod verify;
