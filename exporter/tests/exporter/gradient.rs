//! Input gradients of the exported networks against PyTorch's own, in float64.

use std::collections::BTreeMap;
use std::path::Path;

use rift_exporter::fold::fold;
use rift_exporter::lower::lower;
use rift_runtime::attack::gradient;
use rift_runtime::session::{Classifier, Worker};
use rift_tests::golden::{Golden, relative_error};

/// Exports the golden `name` and differentiates the ONNX file.
///
/// Both errors are relative, in the Euclidean norm. A ReLU whose input is 0 but for rounding may
/// send the gradient another way than float64 does, and then it is off by far more than this.
fn agrees(name: &str, tolerance: f64) {
    let golden = Golden::read(name);
    let graph = golden.checkpoint.meta.arch.build().unwrap();
    let folded = fold(&graph, golden.checkpoint.tensors).unwrap();
    let model = lower(name, &folded.graph, &folded.tensors, &BTreeMap::new()).unwrap();
    let classifier = Classifier::from_bytes(Path::new(name), model.to_bytes()).unwrap();
    let graph = gradient::loss_gradient(&classifier).unwrap().to_bytes();
    let mut worker = Worker::new(&classifier, golden.labels.len())
        .and_then(|worker| worker.with_gradient(&classifier, &graph))
        .unwrap();
    let found = worker.loss_gradient(&golden.images.view(), &golden.labels).unwrap();
    let logits = relative_error(&found.logits.into_dyn(), &golden.logits);
    let gradient = relative_error(&found.gradient.into_dyn(), &golden.gradient);
    assert!(logits < 1e-5, "{name}: logits {logits:.1e}");
    assert!(gradient < tolerance, "{name}: gradient {gradient:.1e}");
}

#[test]
fn resnet20_as_autograd() {
    agrees("resnet20", 1e-5);
}

#[test]
fn resnet18_as_autograd() {
    agrees("resnet18", 1e-5);
}

#[test]
fn resnet18_for_larger_images_as_autograd() {
    agrees("resnet18-64", 1e-5);
}

#[test]
fn resnet34_as_autograd() {
    agrees("resnet34", 1e-5);
}

#[test]
fn wrn34_10_as_autograd() {
    agrees("wrn34-10", 1e-5);
}
