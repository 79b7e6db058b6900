//! The decoder of inference requests: JSON, binary tensors after it, or one tensor alone.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use rift_models::onnx::{DataType, Dim, GraphBuilder};
use rift_runtime::server::images_in;
use rift_runtime::session::Classifier;

fn classifier() -> Option<Classifier> {
    let mut builder = GraphBuilder::new("flat", 17);
    let dims = [Dim::free("N"), Dim::Fixed(1), Dim::Fixed(2), Dim::Fixed(2)];
    let image = builder.input("image", DataType::Float, &dims).ok()?;
    builder.node_making("logits", "Flatten", &[&image], vec![]).ok()?;
    builder.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(4)]);
    let bytes = builder.finish().ok()?.to_bytes();
    Classifier::from_bytes(Path::new("flat"), bytes).ok()
}

fuzz_target!(init: rift_runtime::session::library::silence_telemetry(), |bytes: &[u8]| {
    static CLASSIFIER: OnceLock<Option<Classifier>> = OnceLock::new();
    // Without ONNX Runtime there is no classifier, and nothing is tested: that must be seen.
    let Some(classifier) = CLASSIFIER.get_or_init(classifier) else { std::process::abort() };
    let Some((&[low, high], body)) = bytes.split_first_chunk::<2>() else { return };
    // Odd lengths of the head are written as they are, the largest stands for none.
    let head = u16::from_le_bytes([low, high]);
    let head = (head != u16::MAX).then_some(head.into());
    if let Some(images) = images_in(classifier, head, body.to_vec()) {
        assert!(images > 0);
    }
});
