//! NVIDIA's client, over HTTP and gRPC.
//!
//! It needs `.peers-serving`, which `tests/peers/setup.sh serving` makes.

use std::path::Path;
use std::process::Command;

use crate::small_models::conv_net;
use crate::{Place, ended, program};

#[test]
fn tritonclient_gets_the_answers_of_the_command() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = top.join(".peers-serving/bin/python");
    if !python.is_file() {
        eprintln!("skipped: no `.peers-serving`, which `tests/peers/setup.sh serving` makes");
        return;
    }
    let place = Place::with(&conv_net(None));
    let mut command = Command::new(python);
    command.arg(top.join("tests/peers/tritonclient_calls.py")).arg(place.path("m.onnx"));
    let done = ended(command.arg("--program").arg(program()));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.contains("stream_infer") && done.out.contains("every answer"), "{}", done.out);
}
