//! The checkpoint reader: safetensors, the metadata in its header, and the network that this names.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rift_models::artifact::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((checkpoint, graph, _)) = Checkpoint::from_bytes(Path::new("checkpoint"), bytes) {
        assert!(rift_models::artifact::apply::check(&graph, &checkpoint.tensors).is_ok());
    }
});
