//! Every objective, its gradients and what it leaves of the running statistics against PyTorch's,
//! written from the papers' formulas: `tests/peers/objectives.py`.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::ArrayD;
use rift_models::arch::ArchSpec;
use rift_models::artifact::tensors::{self, TensorFile};
use rift_tests::golden::{images, weights};
use rift_trainer::network::{Mode, Network, device, to_array, to_tensor, to_vec};
use rift_trainer::objective::{Method, Objective, Pair, StepLoss, awp};
use rift_trainer::optim::{Average, clip};
use serde::Deserialize;
use tch::{Device, Tensor};

/// PyTorch's own float32 is up to 2e-6 from its float64 here.
const TOLERANCE: f64 = 1e-4;

/// A case of the peer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    method: Method,
    #[serde(default)]
    beta: f64,
    #[serde(default)]
    loss_clip: f64,
    #[serde(default)]
    label_smoothing: f64,
    awp_gamma: Option<f64>,
    clip_gradient: Option<f64>,
}

fn file() -> TensorFile {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parity/objectives.safetensors");
    tensors::read(Path::new(path)).unwrap()
}

fn arch(file: &TensorFile) -> ArchSpec {
    serde_json::from_str(&file.metadata["arch"]).unwrap()
}

/// The network with the weights of the formula.
fn network(file: &TensorFile) -> Network {
    device::set_threads(Some(1));
    let graph = arch(file).build().unwrap();
    let tensors = weights(&graph);
    let network = Network::from_tensors(graph, &tensors, Device::Cpu).unwrap();
    network.unfreeze().unwrap();
    network
}

/// Loss and gradients of a case, as a training takes them.
fn step(network: &Network, case: &Case, pair: &Pair<'_>) -> (StepLoss, Vec<Tensor>) {
    let objective = Objective {
        loss_clip: case.loss_clip,
        label_smoothing: case.label_smoothing,
        ..Objective::new(case.method, case.beta)
    };
    let loss = |mode| objective.loss(network, pair, mode);
    let (step, gradients) = match case.awp_gamma {
        Some(gamma) => awp::gradients(network, gamma, loss).unwrap(),
        None => awp::plain_gradients(network, loss(Mode::Train).unwrap()).unwrap(),
    };
    match case.clip_gradient {
        Some(length) => (step, clip(&gradients, length).unwrap()),
        None => (step, gradients),
    }
}

/// Tensors by name as one vector.
fn flat(tensors: &BTreeMap<String, ArrayD<f32>>) -> Vec<f32> {
    tensors.values().flat_map(|tensor| tensor.iter().copied()).collect()
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |value: f64| value * value;
    let pairs = found.iter().zip(expected);
    let apart: f64 = pairs.map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let length: f64 = expected.iter().map(|b| square(f64::from(*b))).sum();
    (apart / length).sqrt()
}

#[test]
fn every_objective_and_its_gradient_agree_with_pytorch() {
    let file = file();
    let cases: BTreeMap<String, Case> = serde_json::from_str(&file.metadata["cases"]).unwrap();
    let methods: Vec<Method> = cases.values().map(|case| case.method).collect();
    // Fast-AT minimises what adversarial training does.
    assert!(Method::ALL.iter().all(|m| methods.contains(m) || *m == Method::FastAt));
    let adversarial = to_tensor(&file.tensors["adversarial"], Device::Cpu).unwrap();
    let labels: Vec<i64> = file.tensors["labels"].iter().map(|label| *label as i64).collect();
    let seed = file.metadata["seed"].parse().unwrap();
    let clean = images(seed, labels.len(), arch(&file).input).into_dyn();
    let clean = to_tensor(&clean, Device::Cpu).unwrap();
    let labels = Tensor::from_slice(&labels);
    let pair = Pair { clean: &clean, adversarial: &adversarial, labels: &labels };
    for (name, case) in &cases {
        // Standard training's pair has no adversarial image.
        let standard = Pair { adversarial: &clean, ..pair };
        let pair = if case.method == Method::Standard { &standard } else { &pair };
        let network = network(&file);
        let (step, gradients) = step(&network, case, pair);
        let gradients: BTreeMap<String, ArrayD<f32>> = network
            .trained()
            .zip(&gradients)
            .map(|((parameter, _), g)| (parameter.name.clone(), to_array(g).unwrap()))
            .collect();
        let mut running = network.state().unwrap();
        running.retain(|name, _| name.contains("running"));
        for (part, found) in [
            ("loss", to_vec(&step.loss.view([1])).unwrap()),
            ("gradient", flat(&gradients)),
            ("running", flat(&running)),
        ] {
            let expected: Vec<f32> =
                file.tensors[&format!("{name}/{part}")].iter().copied().collect();
            let error = relative_error(&found, &expected);
            println!("{name}: {part}: relative error {error:.1e}");
            assert!(error <= TOLERANCE, "{name}: {part}: relative error {error:.1e}");
        }
    }
}

#[test]
fn the_averaged_weights_agree_with_the_reference() {
    let file = file();
    let network = network(&file);
    let start = network.state().unwrap();
    let mut average = Average::new(0.995, &network).unwrap();
    for step in 1u8..=5 {
        let mut now = start.clone();
        for (name, values) in &mut now {
            if !name.contains("running") {
                *values *= 1.0 + 0.25 * f32::from(step);
            }
        }
        network.set_state(&now).unwrap();
        // A warm-up of one step.
        average.update(&network, f64::from(step) - 1.0).unwrap();
    }
    let mut found = average.state().unwrap();
    found.retain(|name, _| !name.contains("running"));
    let expected: Vec<f32> = file.tensors["average"].iter().copied().collect();
    let error = relative_error(&flat(&found), &expected);
    assert!(error <= TOLERANCE, "relative error {error:.1e}");
}
