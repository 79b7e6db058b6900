//! The interpreter against libtorch's own arithmetic.

use ndarray::{ArrayD, IxDyn};
use rift_models::arch::spec::NAMES;
use rift_models::arch::{ArchSpec, Graph};
use rift_models::artifact::TensorMap;
use tch::{Device, Kind, Reduction, Tensor};

use super::*;

fn graph(name: &str) -> Graph {
    let mut spec = ArchSpec::new(name, [3, 32, 32], 4);
    spec.mean = vec![0.5, 0.4, 0.3];
    spec.std = vec![0.2, 0.25, 0.3];
    spec.build().unwrap()
}

/// On one thread: such small work only waits for a second one.
fn network(name: &str) -> Network {
    device::set_threads(Some(1));
    Network::initialise(graph(name), 1, Device::Cpu).unwrap()
}

fn images(n: i64, seed: i64) -> Tensor {
    let phase = Tensor::arange(n * 3 * 32 * 32, (Kind::Float, Device::Cpu)) * 12.9898 + seed;
    (phase.sin() * 43758.547).frac().abs().view([n, 3, 32, 32])
}

fn close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.size(), b.size());
    let error = (a - b).abs().max().double_value(&[]);
    let scale = b.abs().max().double_value(&[]).max(1e-12);
    assert!(error <= tolerance * scale, "error {error} at scale {scale}");
}

#[test]
fn a_suffix_continues_the_full_pass() {
    let network = network("resnet8");
    let x = images(3, 0);
    let full = network.forward(&x, Mode::Eval).unwrap();
    for node in 0..=network.graph().nodes.len() {
        let cut = network.forward_until(&x, node, Mode::Eval).unwrap();
        for _ in 0..2 {
            let rest = network.forward_from(&cut, Mode::Eval).unwrap();
            assert_eq!(rest, full, "cut before node {node}: the values must survive the first run");
        }
    }
}

#[test]
fn activations_hold_only_what_is_still_read() {
    let network = network("resnet8");
    let node = network.graph().module("linear").unwrap();
    let cut = network.forward_until(&images(2, 0), node, Mode::Eval).unwrap();
    assert_eq!(cut.node(), node);
    assert_eq!(cut.values().len(), 1);
    let branch = network.graph().module("layer2.0.conv2").unwrap();
    let cut = network.forward_until(&images(2, 0), branch, Mode::Eval).unwrap();
    assert_eq!(cut.values().len(), 2, "the branch and the shortcut's input");
}

#[test]
fn batch_norm_moves_its_statistics_as_pytorch_does() {
    let network = network("resnet8");
    let x = images(5, 0);
    let first = network.graph().nodes.iter().position(|n| n.name == "bn1").unwrap();
    let cut = network.forward_until(&x, first, Mode::Eval).unwrap();
    let input = cut.values().values().next().unwrap().transpose(0, 1).reshape([16, -1]);
    let _ = network.forward(&x, Mode::Train).unwrap();
    let mean = input.mean_dim(1, false, Kind::Float);
    let unbiased = input.var_dim(1, true, false);
    close(network.tensor("bn1.running_mean").unwrap(), &(mean * 0.1), 1e-5);
    close(network.tensor("bn1.running_var").unwrap(), &(unbiased * 0.1 + 0.9), 1e-5);
    let before = network.state().unwrap();
    let _ = network.forward(&x, Mode::Eval).unwrap();
    assert_eq!(network.state().unwrap(), before, "evaluation moves nothing");
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let network = network("resnet8");
    let (x, labels) = (images(2, 3), Tensor::from_slice(&[1i64, 3]));
    let (_, gradient) = input_gradient(&network, &x, &labels).unwrap();
    let loss = |x: &Tensor| {
        let logits = network.forward(x, Mode::Eval).unwrap();
        cross_entropy(&logits.to_kind(Kind::Double), &labels, Reduction::Sum).unwrap()
    };
    let direction = gradient.sign();
    let h = 1e-3;
    let [above, below] = [h, -h].map(|h| loss(&(&x + &direction * h)).double_value(&[]));
    let slope = gradient.abs().sum(Kind::Double).double_value(&[]);
    let measured = (above - below) / (2.0 * h);
    assert!((slope - measured).abs() < 0.02 * slope, "{slope} against {measured}");
}

#[test]
fn every_architecture_runs() {
    for name in NAMES.into_iter().filter(|name| !name.starts_with("wrn")) {
        let logits = network(name).forward(&images(1, 0), Mode::Eval).unwrap();
        assert_eq!(logits.size(), [1, 4], "{name}");
    }
}

#[test]
fn state_goes_out_and_back_and_is_checked() {
    let (a, b) = (network("resnet8"), network("resnet8").copy().unwrap());
    let mut state = a.state().unwrap();
    state.insert("linear.bias".into(), ArrayD::from_elem(IxDyn(&[4]), 7.0));
    a.set_state(&state).unwrap();
    assert_eq!(a.state().unwrap(), state);
    assert_ne!(b.state().unwrap(), state, "a copy is apart");
    state.insert("linear.bias".into(), ArrayD::zeros(IxDyn(&[1])));
    assert!(a.set_state(&state).is_err(), "nothing is broadcast");
    assert!(Network::from_tensors(graph("resnet8"), &TensorMap::new(), Device::Cpu).is_err());
}

#[test]
fn modules_train_by_exact_name() {
    let network = network("resnet8");
    let names = |network: &Network| -> Vec<String> {
        network.trained().map(|(p, _)| p.name.clone()).collect()
    };
    assert!(names(&network).is_empty());
    network.unfreeze().unwrap();
    assert_eq!(names(&network).len(), network.entries().count() - 2 * 9);
    network.train_modules(&["conv1", "linear"]).unwrap();
    assert_eq!(names(&network), ["conv1.weight", "linear.weight", "linear.bias"]);
    let error = network.train_modules(&["layer1"]).unwrap_err().to_string();
    assert!(error.contains("no module `layer1`"), "{error}");
    let frozen = network.frozen().unwrap();
    assert!(names(&frozen).is_empty() && !names(&network).is_empty());
    network.freeze().unwrap();
    assert!(names(&network).is_empty());
}

#[test]
fn an_error_of_libtorch_is_one_line() {
    let error = network("resnet8").forward(&images(1, 0).narrow(1, 0, 2), Mode::Eval).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("libtorch: ") && !text.contains('\n'), "{text}");
}

#[test]
fn trains_thin_networks_on_larger_images() {
    // With libtorch's own strided 1 × 1 convolution this ends the process, see `forward`.
    let spec = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", [3, 64, 64], 10) };
    let network = Network::initialise(spec.build().unwrap(), 0, Device::Cpu).unwrap();
    network.unfreeze().unwrap();
    let images = Tensor::rand([128, 3, 64, 64], (Kind::Float, Device::Cpu));
    for _ in 0..3 {
        let loss = network.forward(&images, Mode::Train).unwrap().square().mean(Kind::Float);
        loss.backward();
    }
    assert!(network.trained().all(|(_, tensor)| tensor.grad().defined()));
}
