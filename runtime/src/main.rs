//! The program `rift-runtime`.

mod cli;
mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread, and before ONNX Runtime: it sends data about its use by default.
    rift_runtime::session::library::silence_telemetry();
    cli::main()
}
