//! The trainer's forward pass and input gradient against PyTorch's.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it expects with `unwrap`, and what it found"
)]

mod objectives;

use rift_tests::golden::{self, Golden, relative_error};
use rift_trainer::network::{Mode, Network, input_gradient, to_array, to_tensor};
use tch::{Device, Tensor};

/// The difference that single precision explains, with room: PyTorch's own float32 is up to 8e-7
/// from its float64 on these networks, and the goldens keep away from the kinks of ReLU.
const TOLERANCE: f64 = 1e-5;

fn agrees(name: &str) {
    let golden = Golden::read(name);
    let graph = golden.checkpoint.meta.arch.build().unwrap();
    let network = Network::from_tensors(graph, &golden.checkpoint.tensors, Device::Cpu).unwrap();
    network.freeze().unwrap();
    let images = to_tensor(&golden.images.clone().into_dyn(), Device::Cpu).unwrap();
    let labels: Vec<i64> = golden.labels.iter().map(|label| *label as i64).collect();
    let forward = network.forward(&images, Mode::Eval).unwrap();
    let (logits, gradient) =
        input_gradient(&network, &images, &Tensor::from_slice(&labels)).unwrap();
    for (what, found, expected) in [
        ("forward pass", &forward, &golden.logits),
        ("logits beside the gradient", &logits, &golden.logits),
        ("input gradient", &gradient, &golden.gradient),
    ] {
        let error = relative_error(&to_array(found).unwrap(), expected);
        println!("{name}: {what}: relative error {error:.1e}");
        assert!(error <= TOLERANCE, "{name}: {what}: relative error {error:.1e}");
    }
}

#[test]
fn resnet20_agrees_with_pytorch() {
    agrees("resnet20");
}

#[test]
fn resnet18_agrees_with_pytorch() {
    agrees("resnet18");
}

#[test]
fn resnet18_agrees_with_pytorch_on_larger_images() {
    agrees("resnet18-64");
}

#[test]
fn resnet34_agrees_with_pytorch() {
    agrees("resnet34");
}

#[test]
fn preactresnet18_agrees_with_pytorch() {
    agrees("preactresnet18");
}

#[test]
fn preactresnet18_of_fast_adversarial_training_agrees_with_pytorch() {
    agrees("preactresnet18-fast-at");
}

#[test]
fn wrn34_10_agrees_with_pytorch() {
    agrees("wrn34-10");
}

#[test]
fn every_golden_is_held() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parity/goldens");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), golden::NAMES.len());
}
