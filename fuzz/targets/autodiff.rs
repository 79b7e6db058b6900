//! The gradient graph of whatever ONNX Runtime takes for a classifier and the screen lets pass.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rift_models::onnx::Model;
use rift_runtime::attack::gradient;
use rift_runtime::server::screen::{Limits, Screen};
use rift_runtime::session::Classifier;

fuzz_target!(init: rift_runtime::session::library::silence_telemetry(), |bytes: &[u8]| {
    if Screen::new(Limits::default()).inspect(bytes).is_err() {
        return;
    }
    let Ok(classifier) = Classifier::from_bytes(Path::new("model"), bytes.to_vec()) else { return };
    if let Ok(graph) = gradient::loss_gradient(&classifier) {
        assert!(Model::from_bytes(&graph.to_bytes()).is_ok());
    }
});
