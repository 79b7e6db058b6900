//! PGD inside its ball, and on networks of which the optimum is known.

use std::collections::BTreeMap;

use rift_models::arch::{ArchSpec, Graph, Node, Op, Value};
use rift_models::artifact::TensorMap;
use rift_models::threat::{AttackSpec, NoiseKey, Norm};
use tch::{Device, Kind, Tensor};

use super::*;
use crate::data::{Batch, ImageSet};
use crate::network::{Mode, Network, Precision, cross_entropy, device, to_vec};

const INPUT: [usize; 3] = [2, 3, 3];

/// `logits = W x + b` over images of 2 × 3 × 3 with two classes.
fn linear() -> (Network, Vec<f32>) {
    device::set_threads(Some(1));
    let node = |name: &str, op, input| Node { name: name.into(), op, inputs: vec![input] };
    let graph = Graph {
        input: INPUT,
        classes: 2,
        nodes: vec![
            node("flatten", Op::Flatten, Value::Input),
            node(
                "linear",
                Op::Linear { in_features: 18, out_features: 2, bias: true },
                Value::Node(0),
            ),
        ],
    };
    let difference: Vec<f32> = (0..18).map(|i| ((i * 7 % 11) as f32 - 5.0) / 5.0).collect();
    let weight: Vec<f32> =
        difference.iter().map(|d| d / 2.0).chain(difference.iter().map(|d| -d / 2.0)).collect();
    let tensors: TensorMap = BTreeMap::from([
        (
            "linear.weight".into(),
            ndarray::Array2::from_shape_vec((2, 18), weight).unwrap().into_dyn(),
        ),
        ("linear.bias".into(), ndarray::Array1::zeros(2).into_dyn()),
    ]);
    (Network::from_tensors(graph, &tensors, Device::Cpu).unwrap(), difference)
}

fn spec(norm: Norm, eps: &str, step: &str, steps: usize) -> AttackSpec {
    let [eps, step] = [eps, step].map(|t| t.parse().unwrap());
    AttackSpec { norm, eps, step, steps, ..AttackSpec::paper() }
}

/// Images of `input` in the middle of the box, of class 0 for the linear network or by `labels`.
fn batch(n: usize, input: [usize; 3], labels: impl Fn(usize) -> usize) -> Batch {
    let values = n * input.iter().product::<usize>();
    let pixels: Vec<f32> =
        (0..values).map(|i| 0.3 + 0.4 * ((i * 37 % 101) as f32 / 100.0)).collect();
    let labels = (0..n).map(labels).collect();
    ImageSet::from_floats(&pixels, input, labels, Device::Cpu).unwrap().batch(0..n).unwrap()
}

fn margin(network: &Network, images: &Tensor) -> Vec<f32> {
    let logits = network.forward(images, Mode::Eval).unwrap();
    to_vec(&(logits.select(1, 0) - logits.select(1, 1))).unwrap()
}

fn key() -> NoiseKey {
    NoiseKey { seed: 0, attack: "test", restart: 0 }
}

#[test]
fn reaches_the_optimum_of_a_linear_network() {
    let (network, difference) = linear();
    let batch = batch(4, INPUT, |_| 0);
    let clean = margin(&network, &batch.images);
    let eps = 0.1;
    let fall = |norm: Norm| match norm {
        Norm::Linf => eps * difference.iter().map(|d| d.abs()).sum::<f32>(),
        Norm::L2 => eps * Norm::L2.of(difference.iter().copied()),
    };
    for norm in [Norm::Linf, Norm::L2] {
        let images = craft(&network, &batch, &spec(norm, "0.1", "0.02", 20), &key()).unwrap();
        for (after, before) in margin(&network, &images).iter().zip(&clean) {
            let expected = before - fall(norm);
            assert!((after - expected).abs() < 2e-3, "{norm}: {after} against {expected}");
        }
    }
}

/// An untrained network whose classes are balanced, so that some images are near the boundary.
fn resnet() -> Network {
    device::set_threads(Some(1));
    let graph = ArchSpec::new("resnet8", [3, 16, 16], 5).build().unwrap();
    let network = Network::initialise(graph, 2, Device::Cpu).unwrap();
    let logits = network.forward(&batch(12, [3, 16, 16], |_| 0).images, Mode::Eval).unwrap();
    let bias = network.tensor("linear.bias").unwrap();
    let balanced = bias - logits.mean_dim(0, false, Kind::Float);
    bias.shallow_clone().copy_(&balanced);
    network
}

/// A batch of which every label is the network's own prediction.
fn believed(network: &Network, n: usize) -> Batch {
    let images = batch(n, [3, 16, 16], |_| 0).images;
    let labels = network.forward(&images, Mode::Eval).unwrap().argmax(1, false);
    Batch { images, labels, indices: (0..n).collect() }
}

#[test]
fn stays_in_the_ball_and_the_box() {
    let network = resnet();
    let mut batch = believed(&network, 6);
    batch.images = (&batch.images * 2.0 - 0.5).clamp(0.0, 1.0);
    for (norm, eps) in [(Norm::Linf, "8/255"), (Norm::L2, "0.5"), (Norm::L2, "0")] {
        let spec = AttackSpec { restarts: 2, ..spec(norm, eps, "0.3", 3) };
        let outcome = attack(&network, &batch, &spec).unwrap();
        for images in [outcome.images, craft(&network, &batch, &spec, &key()).unwrap()] {
            assert!(images.min().double_value(&[]) >= 0.0 && images.max().double_value(&[]) <= 1.0);
            for row in 0..6 {
                let delta = to_vec(&(images.get(row) - batch.images.get(row))).unwrap();
                assert!(norm.of(delta) <= spec.eps.value() + 1e-6);
            }
        }
    }
}

#[test]
fn more_budget_and_more_steps_never_help_the_defender() {
    let network = resnet();
    let batch = believed(&network, 12);
    let robust = |eps: &str, steps, restarts| {
        let spec = AttackSpec { restarts, ..spec(Norm::Linf, eps, "0.002", steps) };
        attack(&network, &batch, &spec).unwrap().robust.iter().filter(|r| **r).count()
    };
    let by_eps = ["0", "0.002", "0.01", "0.1"].map(|eps| robust(eps, 8, 1));
    assert_eq!(by_eps[0], 12, "an empty ball breaks nothing");
    assert!(by_eps.is_sorted_by(|a, b| a >= b), "{by_eps:?}");
    assert!(by_eps[3] < 12, "the largest ball breaks something");
    let by_steps = [0, 2, 8].map(|steps| robust("0.01", steps, 1));
    assert!(by_steps.is_sorted_by(|a, b| a >= b), "{by_steps:?}");
    assert!(robust("0.005", 2, 3) <= robust("0.005", 2, 1));
    let loss = |steps| {
        let images = craft(&network, &batch, &spec(Norm::Linf, "0.01", "0.002", steps), &key());
        let logits = network.forward(&images.unwrap(), Mode::Eval).unwrap();
        cross_entropy(&logits, &batch.labels, tch::Reduction::Sum).unwrap().double_value(&[])
    };
    assert!(loss(0) < loss(2) && loss(2) < loss(8));
}

#[test]
fn verdicts_do_not_depend_on_the_batch() {
    let network = resnet();
    let whole = believed(&network, 8);
    let spec = AttackSpec { restarts: 2, ..spec(Norm::Linf, "0.006", "0.002", 4) };
    let together = attack(&network, &whole, &spec).unwrap();
    for row in 0..8usize {
        let part = Batch {
            images: whole.images.narrow(0, row as i64, 1),
            labels: whole.labels.narrow(0, row as i64, 1),
            indices: vec![row],
        };
        let alone = attack(&network, &part, &spec).unwrap();
        assert_eq!(alone.robust[0], together.robust[row], "image {row}");
        let difference = (alone.images.get(0) - together.images.get(row as i64)).abs().max();
        assert!(difference.double_value(&[]) < 1e-6, "image {row}");
    }
}

#[test]
fn the_outcome_is_what_the_network_says_of_its_images() {
    let network = resnet();
    let batch = believed(&network, 10);
    let wrong = (batch.labels.get(3) + 1).remainder(5);
    batch.labels.get(3).copy_(&wrong);
    for early_stop in [true, false] {
        let spec = AttackSpec { early_stop, ..spec(Norm::Linf, "0.01", "0.004", 5) };
        let outcome = attack(&network, &batch, &spec).unwrap();
        let logits = network.forward(&outcome.images, Mode::Eval).unwrap();
        assert_eq!(pgd::predictions(&logits).unwrap(), outcome.adversarial);
        let labels = crate::network::to_indices(&batch.labels).unwrap();
        let stands: Vec<bool> =
            outcome.adversarial.iter().zip(&labels).map(|(class, label)| class == label).collect();
        assert_eq!(outcome.robust, stands);
        assert!(!outcome.robust[3], "misclassified to begin with");
        assert_eq!(outcome.images.get(3), batch.images.get(3));
    }
}

#[test]
fn logits_that_are_no_numbers_are_no_class() {
    let logits = Tensor::from_slice(&[f32::NAN, f32::NAN, 0.0, f32::NAN, 1.0, 2.0, 3.0, 3.0]);
    let classes = pgd::predictions(&logits.view([4, 2])).unwrap();
    assert_eq!(classes, [pgd::NO_CLASS, pgd::NO_CLASS, 1, 0]);
    // A network that gives nothing else is right about no image, whatever its label.
    let (network, _) = linear();
    let mut state = network.state().unwrap();
    state.get_mut("linear.bias").unwrap().fill(f32::NAN);
    network.set_state(&state).unwrap();
    let outcome =
        attack(&network, &batch(4, INPUT, |row| row % 2), &spec(Norm::Linf, "0.1", "0.1", 2));
    let outcome = outcome.unwrap();
    assert_eq!(outcome.clean, [pgd::NO_CLASS; 4]);
    assert_eq!(outcome.robust, [false; 4]);
}

#[test]
fn a_dead_gradient_moves_nothing() {
    let (network, _) = linear();
    let zero: TensorMap = network.state().unwrap().into_iter().map(|(n, t)| (n, t * 0.0)).collect();
    network.set_state(&zero).unwrap();
    let batch = batch(2, INPUT, |_| 0);
    for norm in [Norm::Linf, Norm::L2] {
        let spec = AttackSpec { random_start: false, ..spec(norm, "0.1", "0.1", 3) };
        let images = craft(&network, &batch, &spec, &key()).unwrap();
        assert_eq!(images, batch.images, "{norm}");
    }
}

#[test]
fn crafting_leaves_parameters_and_statistics_alone() {
    let network = resnet();
    network.unfreeze().unwrap();
    let batch = believed(&network, 4);
    let before = network.state().unwrap();
    let images = craft(&network, &batch, &AttackSpec::paper(), &key()).unwrap();
    assert!(!images.requires_grad());
    assert_eq!(network.state().unwrap(), before);
    assert!(network.trained().all(|(_, t)| !t.grad().defined()));
    assert_eq!(images.kind(), Kind::Float);
}

/// Crafting by every inner loss, from where its authors start.
fn craftings(norm: Norm, eps: &str, step: &str) -> [Crafting; 4] {
    let pgd = || Crafting::pgd(spec(norm, eps, step, 4));
    let beside = |inner, aim| Crafting { inner, aim, start: Start::Gaussian, ..pgd() };
    [
        pgd(),
        beside(InnerLoss::Kl, Aim::Clean),
        beside(InnerLoss::Squared, Aim::Clean),
        Crafting { inner: InnerLoss::Squared, ..pgd() },
    ]
}

#[test]
fn what_is_crafted_for_an_image_does_not_depend_on_the_others() {
    let network = resnet();
    let whole = believed(&network, 6);
    for (norm, eps, step) in [(Norm::Linf, "8/255", "2/255"), (Norm::L2, "0.5", "0.2")] {
        for crafting in craftings(norm, eps, step) {
            let together = crafting.craft(&network, &whole, &key()).unwrap();
            let part = Batch {
                images: whole.images.narrow(0, 4, 1),
                labels: whole.labels.narrow(0, 4, 1),
                indices: vec![4],
            };
            let alone = crafting.craft(&network, &part, &key()).unwrap();
            let apart = (alone.get(0) - together.get(4)).abs().mean(Kind::Float);
            assert!(apart.double_value(&[]) < 1e-3, "{:?} {norm}", crafting.inner);
            for row in 0..6 {
                let delta = to_vec(&(together.get(row) - whole.images.get(row))).unwrap();
                assert!(norm.of(delta) <= crafting.spec.eps.value() + 1e-6);
            }
        }
    }
}

#[test]
fn low_precision_flushes_no_loss_to_zero() {
    let network = resnet();
    let coarse = network.copy().unwrap().with_precision(Precision::Bf16);
    let batch = believed(&network, 12);
    let log =
        |images: &Tensor| network.forward(images, Mode::Eval).unwrap().log_softmax(1, Kind::Float);
    let clean = log(&batch.images);
    let moved = |images: &Tensor| (log(images) - &clean).abs().mean(Kind::Float).double_value(&[]);
    for crafting in craftings(Norm::Linf, "8/255", "2/255") {
        let [fine, rough] = [&network, &coarse]
            .map(|network| moved(&crafting.craft(network, &batch, &key()).unwrap()));
        assert!(rough > 0.5 * fine && fine > 0.0, "{:?}: {rough} of {fine}", crafting.inner);
    }
}
