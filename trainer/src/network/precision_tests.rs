//! bf16 beside float32.

use rift_models::arch::{ArchSpec, Op};
use rift_models::artifact::TensorMap;
use rift_models::threat::{AttackSpec, NoiseKey};
use tch::{Device, Kind, Reduction, Tensor};

use super::*;
use crate::attack::craft;
use crate::data::{Batch, ImageSet};
use crate::optim::{Sgd, SgdSettings};
use crate::stage::fixture;

const INPUT: [usize; 3] = [3, 16, 16];

fn images() -> ImageSet {
    fixture::images(64, INPUT, 4)
}

/// A network with statistics of its own, once in each precision.
fn pair(name: &str, batch: &Batch) -> [Network; 2] {
    let graph = ArchSpec::new(name, INPUT, 4).build().unwrap();
    let network = Network::initialise(graph, 1, Device::Cpu).unwrap();
    for _ in 0..3 {
        let _ = network.forward(&batch.images, Mode::Train).unwrap();
    }
    let half = network.copy().unwrap().with_precision(Precision::Bf16);
    [network, half]
}

/// `‖a − b‖ / ‖b‖`.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    ((a - b).norm() / b.norm()).double_value(&[])
}

/// Near, and yet not the same: an unused precision would be.
fn near(a: &Tensor, b: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(a.kind(), Kind::Float, "{what}");
    let error = distance(a, b);
    assert!(error > 1e-5 && error < tolerance, "{what}: {error}");
}

#[test]
fn logits_and_input_gradients_are_near_float32s() {
    let set = images();
    let batch = set.batch(0..16).unwrap();
    for name in ["resnet8", "resnet20"] {
        let [full, half] = pair(name, &batch);
        for mode in [Mode::Eval, Mode::Train] {
            let [a, b] = [&half, &full].map(|n| n.forward(&batch.images, mode).unwrap());
            near(&a, &b, 0.03, &format!("{name}, logits, {mode:?}"));
        }
        let [(_, a), (_, b)] =
            [&half, &full].map(|n| input_gradient(n, &batch.images, &batch.labels).unwrap());
        near(&a, &b, 0.2, &format!("{name}, input gradient"));
    }
}

#[test]
fn weight_gradients_are_float32_and_near() {
    let set = images();
    let batch = set.batch(0..64).unwrap();
    let [full, half] = pair("resnet8", &batch);
    let [ours, theirs] = [&half, &full].map(|network| {
        network.unfreeze().unwrap();
        let logits = network.forward(&batch.images, Mode::Train).unwrap();
        cross_entropy(&logits, &batch.labels, Reduction::Mean).unwrap().backward();
        network.trained().map(|(p, t)| (p.name.clone(), t.grad())).collect::<Vec<_>>()
    });
    // PyTorch's own autocast is up to 0.25 away in single parameters of such a network, whose
    // gradient is a small difference of large terms, and 0.990 in the cosine of all.
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        near(ours, theirs, 0.25, name);
    }
    let [ours, theirs] = [&ours, &theirs].map(|gradients| {
        let flat: Vec<Tensor> = gradients.iter().map(|(_, t)| t.reshape([-1])).collect();
        Tensor::cat(&flat, 0)
    });
    let cosine = Tensor::cosine_similarity(&ours, &theirs, 0, 1e-12).double_value(&[]);
    assert!(cosine > 0.985, "{cosine}");
    let masters = half.entries().all(|(_, tensor)| tensor.kind() == Kind::Float);
    assert!(masters, "weights and statistics stay float32");
}

#[test]
fn a_folded_network_keeps_its_casts() {
    let set = images();
    let batch = set.batch(0..8).unwrap();
    let [_, half] = pair("resnet20", &batch);
    let folded = half.folded().unwrap();
    assert_eq!(folded.precision(), Precision::Bf16);
    for (parameter, tensor) in folded.entries() {
        let convolution = matches!(folded.graph().nodes[parameter.node].op, Op::Conv2d { .. });
        let kind = if convolution { Kind::BFloat16 } else { Kind::Float };
        assert_eq!(tensor.kind(), kind, "{}", parameter.name);
    }
    let [a, b] = [&folded, &half].map(|n| n.forward(&batch.images, Mode::Eval).unwrap());
    assert!(distance(&a, &b) < 0.03, "{}", distance(&a, &b));
    let [cut, whole] = [
        half.forward_from(&half.forward_until(&batch.images, 9, Mode::Eval).unwrap(), Mode::Eval),
        half.forward(&batch.images, Mode::Eval),
    ]
    .map(Result::unwrap);
    assert_eq!(cut, whole, "activations in bf16 are cut like others");
}

/// A few steps of adversarial training: the losses, and the weights at the end.
fn train(precision: Precision) -> (Vec<f64>, TensorMap) {
    let set = images();
    let graph = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", INPUT, 4) }.build().unwrap();
    let network = Network::initialise(graph, 0, Device::Cpu).unwrap().with_precision(precision);
    network.unfreeze().unwrap();
    let settings =
        SgdSettings { momentum: 0.9, nesterov: true, weight_decay: 5e-4, decay_batch_norm: false };
    let mut sgd = Sgd::new(settings);
    let spec = AttackSpec { steps: 2, ..AttackSpec::paper() };
    let batch = set.batch(0..64).unwrap();
    let losses = (0..12).map(|step| {
        let key = NoiseKey { seed: 0, attack: "train", restart: step };
        let adversarial = craft(&network, &batch, &spec, &key).unwrap();
        let logits = network.forward(&adversarial, Mode::Train).unwrap();
        let loss = cross_entropy(&logits, &batch.labels, Reduction::Mean).unwrap();
        sgd.step(&network, &loss, 0.1).unwrap();
        loss.double_value(&[])
    });
    let losses = losses.collect();
    (losses, network.state().unwrap())
}

#[test]
fn training_in_bf16_learns_what_float32_learns_and_twice_the_same() {
    let (full, _) = train(Precision::Float32);
    let (half, state) = train(Precision::Bf16);
    let last = half[half.len() - 1];
    assert!(last < 0.6 * half[0], "{half:?}");
    assert!((last - full[full.len() - 1]).abs() < 0.15 * full[0], "{half:?} {full:?}");
    assert_ne!(half, full);
    let (again, same) = train(Precision::Bf16);
    assert_eq!((half, state), (again, same), "one thread: the same bits");
}

#[test]
fn names_go_out_and_back() {
    for precision in [Precision::Float32, Precision::Tf32, Precision::Bf16] {
        assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        let text = serde_json::to_string(&precision).unwrap();
        assert_eq!(text, format!("\"{precision}\""));
    }
    let error = "fp16".parse::<Precision>().unwrap_err().to_string();
    assert_eq!(error, "unknown precision `fp16`, expected `float32`, `tf32` or `bf16`");
}
