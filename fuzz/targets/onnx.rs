//! The ONNX reader and everything that looks at a graph before ONNX Runtime does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rift_models::onnx::{GraphIndex, Model, plain};
use rift_runtime::autodiff::Interface;
use rift_runtime::server::screen::{Limits, Screen};

fuzz_target!(|bytes: &[u8]| {
    let screened = Screen::new(Limits::default()).inspect(bytes);
    let model = Model::from_bytes(bytes);
    // What passes the screen is a model to everybody.
    assert!(screened.is_err() || model.is_ok());
    let Ok(model) = model else { return };
    let _ = GraphIndex::new(&model);
    let _ = Interface::of(&model);
    if let Ok(plain) = plain(&model) {
        let bytes = plain.to_bytes();
        assert!(Model::from_bytes(&bytes).is_ok());
    }
});
