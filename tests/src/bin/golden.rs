//! Writes a golden's network as a checkpoint, with PyTorch's logits as its probe: a model of real
//! size for `make bench`, and for trying things by hand.
//!
//! `cargo run -p rift-tests --bin golden -- resnet18 FOLDER` writes `FOLDER/checkpoint.safetensors`
//! and `FOLDER/probe.safetensors`.

use std::path::Path;
use std::process::ExitCode;

use rift_tests::golden::{Golden, NAMES};

#[expect(clippy::print_stderr, reason = "a program says what is wrong on standard error")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = &arguments[..] else {
        eprintln!("error: expected a golden and a folder, found {arguments:?}");
        return ExitCode::from(2);
    };
    if !NAMES.contains(&name.as_str()) {
        eprintln!("error: no golden `{name}`, known are {}", NAMES.join(", "));
        return ExitCode::from(2);
    }
    match Golden::read(name).write(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
