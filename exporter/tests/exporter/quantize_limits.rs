//! What `quantize` accepts, to the last image and the last bit.

use rift_models::onnx::proto::ValueInfoProto;
use rift_models::onnx::{Dim, TensorType};

use crate::quantize::{aged, card, quantize, with_data};

#[test]
fn a_loss_of_exactly_what_is_accepted_is_accepted() {
    let run = with_data();
    let with_limit = |limit: f64| {
        let narrow = ["--calibration", "percentile", "--percentile", "90"];
        let limit = limit.to_string();
        quantize(&run, &[&narrow[..], &["--max-drop", &limit]].concat())
    };
    let done = with_limit(100.0);
    assert_eq!(done.code, 0, "{done:?}");
    let found = card(&run).quantization.unwrap();
    let lost = found.clean.drop().max(found.robust.drop());
    assert!(lost > 0.0, "{found:?}");
    assert_eq!(with_limit(lost).code, 0, "{lost}");
    // One image of 48 is two points, so nothing lies between.
    with_limit(lost - 0.01).fails(1, &["nothing written", "`--max-drop`"]);
}

/// The same value in batches of `batch` images and no others.
fn in_batches(value: &ValueInfoProto, batch: usize) -> ValueInfoProto {
    let declared = TensorType::of(value).unwrap();
    let mut dims = declared.dims.unwrap();
    dims[0] = Dim::Fixed(batch);
    TensorType { dims: Some(dims), ..declared }.declare(value.name())
}

#[test]
fn fewer_images_than_a_fixed_batch_do_not_calibrate() {
    let run = with_data();
    aged(&run, |proto| {
        let graph = proto.graph.as_mut().unwrap();
        for value in graph.input.iter_mut().chain(&mut graph.output) {
            *value = in_batches(value, 32);
        }
    });
    quantize(&run, &["--calibration-images", "31"])
        .fails(2, &["batches of 32 images", "found 31 for `--calibration-images`"]);
    let done = quantize(&run, &["--calibration-images", "40", "--max-drop", "100"]);
    assert_eq!(done.code, 0, "{done:?}");
}
