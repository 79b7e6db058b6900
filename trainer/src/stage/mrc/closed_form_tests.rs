//! Networks small enough that the largest loss on the ball is known.

use rift_models::arch::{Graph, Node, Op, Role, Value};
use rift_models::artifact::TensorMap;
use tch::{Device, Reduction, Tensor};

use super::ascent::length;
use super::*;
use crate::network::{Mode, cross_entropy, device};

const EPS: f64 = 8.0 / 255.0;

fn settings(steps: usize) -> MrcSettings {
    // PGD from the image itself: on a linear network it walks straight into the worst corner.
    let threat = AttackSpec { steps, random_start: false, ..AttackSpec::paper() };
    MrcSettings {
        threat,
        radius: 0.1,
        steps: 10,
        ascent: Ascent::Normalized,
        joint: false,
        halves: false,
        batch: 2,
        cache_bytes: 1 << 20,
    }
}

fn network(input: [usize; 3], ops: Vec<(&str, Op)>, weights: &[(&str, &[f32])]) -> Network {
    device::set_threads(Some(1));
    let nodes = ops.into_iter().enumerate().map(|(index, (name, op))| Node {
        name: name.to_owned(),
        op,
        inputs: vec![index.checked_sub(1).map_or(Value::Input, Value::Node)],
    });
    let graph = Graph { input, classes: 2, nodes: nodes.collect() };
    let tensors: TensorMap = graph
        .params()
        .map(|p| {
            let values = weights.iter().find(|(name, _)| *name == p.name).unwrap().1;
            (p.name, ndarray::ArrayD::from_shape_vec(p.spec.shape, values.to_vec()).unwrap())
        })
        .collect();
    Network::from_tensors(graph, &tensors, Device::Cpu).unwrap()
}

fn one(network: &Network, images: &ImageSet, settings: &MrcSettings) -> Vec<MrcRow> {
    let modules: Vec<&str> = network.graph().modules().collect();
    measure(network, images, &modules, settings, &Progress::hidden()).unwrap().rows
}

/// `log(1 + exp(−margin))`: the cross-entropy of two classes.
fn loss(margin: f64) -> f64 {
    (-margin).exp().ln_1p()
}

/// A softmax of two linear functions of two pixels, and one image of the first class.
mod linear {
    use super::*;

    pub(super) const WEIGHT: [f32; 4] = [0.9, -0.4, -0.3, 0.6];
    pub(super) const IMAGE: [f64; 2] = [0.7, 0.4];

    pub(super) fn network() -> Network {
        let linear = Op::Linear { in_features: 2, out_features: 2, bias: false };
        let ops = vec![("flatten", Op::Flatten), ("linear", linear)];
        super::network([1, 1, 2], ops, &[("linear.weight", &WEIGHT)])
    }

    pub(super) fn images() -> ImageSet {
        let pixels = IMAGE.map(|pixel| pixel as f32);
        ImageSet::from_floats(&pixels, [1, 1, 2], vec![0], Device::Cpu).unwrap()
    }

    /// The lowest margin of an image that a move of the weights within their ball brings about: both
    /// rows move against each other along the image.
    pub(super) fn lowest(image: [f64; 2]) -> f64 {
        let [a, b, c, d] = WEIGHT.map(f64::from);
        let radius = 0.1 * (a * a + b * b + c * c + d * d).sqrt();
        let margin = (a - c) * image[0] + (b - d) * image[1];
        margin - radius * 2f64.sqrt() * image[0].hypot(image[1])
    }

    /// The image moved by ε into one of the four corners.
    pub(super) fn corner(signs: [f64; 2]) -> [f64; 2] {
        [IMAGE[0] - EPS * signs[0], IMAGE[1] - EPS * signs[1]]
    }
}

#[test]
fn the_ascent_reaches_the_known_maximum() {
    let (network, images) = (linear::network(), linear::images());
    let [a, b, c, d] = linear::WEIGHT.map(f64::from);
    let [x, y] = linear::IMAGE;
    let rise = loss(linear::lowest(linear::IMAGE)) - loss((a - c) * x + (b - d) * y);
    for ascent in [Ascent::Normalized, Ascent::Reference] {
        let row = &one(&network, &images, &MrcSettings { ascent, ..settings(0) })[0];
        assert!((row.mrc - rise).abs() < 1e-6, "{ascent}: {row:?}, expected {rise}");
    }
}

#[test]
fn attacks_that_follow_the_weights_reach_the_known_maximum_too() {
    let (network, images) = (linear::network(), linear::images());
    let [a, b, c, d] = linear::WEIGHT.map(f64::from);
    let before = linear::corner([(a - c).signum(), (b - d).signum()]);
    let start = loss((a - c) * before[0] + (b - d) * before[1]);
    // For the images of the network as it is, and for the worst of all corners.
    let fixed = loss(linear::lowest(before)) - start;
    let corners = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]];
    let worst = corners.map(|signs| linear::lowest(linear::corner(signs)));
    let joint = loss(worst.into_iter().fold(f64::INFINITY, f64::min)) - start;
    assert!(joint >= fixed);
    for (follows, expected) in [(false, fixed), (true, joint)] {
        let row = &one(&network, &images, &MrcSettings { joint: follows, ..settings(10) })[0];
        assert!((row.mrc - expected).abs() < 1e-6, "joint {follows}: {row:?}, not {expected}");
    }
}

/// Two filters of one weight each, rectified and averaged over four pixels, and a linear layer.
mod small {
    use super::*;

    pub(super) const CONV: [f32; 2] = [1.3, -0.8];
    pub(super) const LINEAR: [f32; 4] = [0.9, -1.1, -0.7, 0.8];
    pub(super) const SHIFT: [f32; 2] = [-0.3, 0.5];
    pub(super) const PIXELS: [[f32; 4]; 6] = [
        [0.1, 0.9, 0.4, 0.3],
        [0.8, 0.7, 0.9, 0.6],
        [0.2, 0.1, 0.3, 0.2],
        [0.5, 0.6, 0.1, 0.9],
        [0.9, 0.2, 0.7, 0.4],
        [0.3, 0.4, 0.2, 0.6],
    ];

    pub(super) fn network() -> Network {
        let conv = Op::Conv2d {
            in_channels: 1,
            out_channels: 2,
            kernel: 1,
            stride: 1,
            padding: 0,
            bias: true,
        };
        let linear = Op::Linear { in_features: 2, out_features: 2, bias: false };
        let ops = vec![
            ("conv", conv),
            ("relu", Op::Relu),
            ("pool", Op::GlobalAvgPool),
            ("flatten", Op::Flatten),
            ("linear", linear),
        ];
        let weights =
            [("conv.weight", &CONV[..]), ("conv.bias", &SHIFT), ("linear.weight", &LINEAR)];
        super::network([1, 2, 2], ops, &weights)
    }

    pub(super) fn images() -> ImageSet {
        let labels = (0..6).map(|index| index % 2).collect();
        ImageSet::from_floats(&PIXELS.concat(), [1, 2, 2], labels, Device::Cpu).unwrap()
    }

    /// The mean loss, written out.
    pub(super) fn loss(conv: [f64; 2], linear: [f64; 4]) -> f64 {
        let total: f64 = PIXELS
            .iter()
            .enumerate()
            .map(|(index, pixels)| {
                let feature = |filter: usize| {
                    let at =
                        |pixel: f32| conv[filter] * f64::from(pixel) + f64::from(SHIFT[filter]);
                    pixels.iter().map(|pixel| at(*pixel).max(0.0)).sum::<f64>() / 4.0
                };
                let [f, g] = [feature(0), feature(1)];
                let margin = (linear[0] - linear[2]) * f + (linear[1] - linear[3]) * g;
                super::loss(if index % 2 == 0 { margin } else { -margin })
            })
            .sum();
        total / PIXELS.len() as f64
    }
}

/// The largest rise on the ball, looked for everywhere: shells, and angles on each.
fn brute_force() -> [f64; 2] {
    let (conv, linear) = (small::CONV.map(f64::from), small::LINEAR.map(f64::from));
    let length = |values: &[f64]| 0.1 * values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let start = small::loss(conv, linear);
    let turn = |part: usize, of: usize| part as f64 / of as f64 * std::f64::consts::TAU;
    let mut best = [0f64; 2];
    for shell in (1..=5).map(|shell| f64::from(shell) / 5.0) {
        for angle in (0..720).map(|part| turn(part, 720)) {
            let radius = shell * length(&conv);
            let moved = [conv[0] + radius * angle.cos(), conv[1] + radius * angle.sin()];
            best[0] = best[0].max(small::loss(moved, linear) - start);
        }
        // Hopf coordinates cover the sphere in four dimensions evenly enough.
        for (eta, a, b) in
            (0..12).flat_map(|eta| (0..40).flat_map(move |a| (0..40).map(move |b| (eta, a, b))))
        {
            let (eta, a, b) = (turn(eta, 44), turn(a, 40), turn(b, 40));
            let radius = shell * length(&linear);
            let unit = [
                eta.cos() * a.cos(),
                eta.cos() * a.sin(),
                eta.sin() * b.cos(),
                eta.sin() * b.sin(),
            ];
            let mut moved = linear;
            moved.iter_mut().zip(unit).for_each(|(value, unit)| *value += radius * unit);
            best[1] = best[1].max(small::loss(conv, moved) - start);
        }
    }
    best
}

#[test]
fn criticality_is_what_a_brute_force_search_finds() {
    let rows = one(&small::network(), &small::images(), &settings(0));
    let expected = brute_force();
    assert!(expected.iter().all(|rise| *rise > 0.01), "{expected:?}");
    for (row, expected) in rows.iter().zip(expected) {
        assert!((row.mrc - expected).abs() <= 0.02 * expected, "{row:?}, expected {expected}");
    }
}

/// Two layers of three filters of three by three, rectified, averaged, and a linear layer: enough that
/// the way up bends along the border of the ball.
mod bent {
    use super::*;

    const IMAGES: usize = 8;

    fn wave(n: usize, step: f64) -> Vec<f32> {
        (1..=n).map(|k| (0.8 * (step * k as f64).sin()) as f32).collect()
    }

    pub(super) fn network() -> Network {
        let conv = |in_channels| Op::Conv2d {
            in_channels,
            out_channels: 3,
            kernel: 3,
            stride: 1,
            padding: 1,
            bias: false,
        };
        let ops = vec![
            ("conv1", conv(1)),
            ("relu1", Op::Relu),
            ("conv2", conv(3)),
            ("relu2", Op::Relu),
            ("pool", Op::GlobalAvgPool),
            ("flatten", Op::Flatten),
            ("linear", Op::Linear { in_features: 3, out_features: 2, bias: false }),
        ];
        let (conv1, conv2, linear) = (wave(27, 1.95), wave(81, 2.55), wave(6, 1.35));
        let weights = [
            ("conv1.weight", &conv1[..]),
            ("conv2.weight", &conv2[..]),
            ("linear.weight", &linear[..]),
        ];
        super::network([1, 5, 5], ops, &weights)
    }

    pub(super) fn images() -> ImageSet {
        let pixel = |k: usize| (0.5 + 0.5 * (0.37 * ((k + 1) * (k + 2)) as f64).sin()) as f32;
        let pixels: Vec<f32> = (0..IMAGES * 25).map(pixel).collect();
        let labels = (0..IMAGES).map(|index| index % 2).collect();
        ImageSet::from_floats(&pixels, [1, 5, 5], labels, Device::Cpu).unwrap()
    }
}

/// The largest rise of the loss that many short steps find, by the whole network.
fn patiently(network: &Network, images: &ImageSet, module: &str) -> f64 {
    let network = network.copy().unwrap();
    let node = network.graph().module(module).unwrap();
    network.train_where(|p| p.node == node && p.spec.role == Role::Weight).unwrap();
    let weight = network.tensor(&format!("{module}.weight")).unwrap();
    let original = weight.detach().copy();
    let radius = 0.1 * length(&original).unwrap();
    let batch = images.batch(0..images.len()).unwrap();
    let mut losses = Vec::new();
    for stride in [0.02, 0.1, 0.5] {
        tch::no_grad(|| weight.shallow_clone().copy_(&original));
        for _ in 0..=120 {
            let logits = network.forward(&batch.images, Mode::Eval).unwrap();
            let loss = cross_entropy(&logits, &batch.labels, Reduction::Mean).unwrap();
            losses.push(loss.double_value(&[]));
            let gradient = &Tensor::run_backward(&[&loss], &[weight], false, false)[0];
            let step = gradient * (stride * radius / length(gradient).unwrap());
            tch::no_grad(|| {
                let delta = weight - &original + step;
                let shorter = (radius / length(&delta).unwrap()).min(1.0);
                weight.shallow_clone().copy_(&(&original + delta * shorter));
            });
        }
    }
    losses.iter().fold(0.0, |most: f64, loss| most.max(loss - losses[0]))
}

#[test]
fn ten_steps_follow_a_bent_way_to_its_end() {
    let (network, images) = (bent::network(), bent::images());
    let found = measure(&network, &images, &["conv2"], &settings(0), &Progress::hidden());
    let row = &found.unwrap().rows[0];
    let expected = patiently(&network, &images, "conv2");
    assert!(expected > 0.1, "{row:?}, {expected}");
    assert!((row.mrc - expected).abs() <= 0.02 * expected, "{row:?}, expected {expected}");
}
