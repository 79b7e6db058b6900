//! Lowered networks on ONNX Runtime against the plain interpreter in f64.

use std::collections::BTreeMap;
use std::path::Path;

use rift_exporter::fold::fold;
use rift_exporter::lower::lower;
use rift_exporter::verify::engine::Engine;
use rift_exporter::verify::parity::compare;
use rift_models::arch::{ArchSpec, Graph, Node, Op, Value};

use crate::reference;

/// Folds and prints `graph`, runs it, and compares `n` images' logits with the reference's.
fn check(graph: &Graph, n: usize, folded: usize) {
    let tensors = reference::trained(graph, 11);
    let images = reference::images(n, graph.input, 4);
    let expected = reference::logits(graph, &tensors, &images);
    let folding = fold(graph, tensors).unwrap();
    assert_eq!(folding.folded, folded);
    let model = lower("network", &folding.graph, &folding.tensors, &BTreeMap::new()).unwrap();
    let engine = Engine::start(None, Some(2)).unwrap();
    let found = engine.logits(Path::new("network"), model.to_bytes(), &images).unwrap();
    // Logits of about 1 after up to twenty layers of f32 sums: 2.4e-7 was seen.
    let comparison = compare(&expected, &found, 2e-6).unwrap();
    let scale = expected.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
    assert!(comparison.parity.holds(), "{comparison:?}");
    assert!(scale > 0.1, "the logits are too small to tell anything: {scale}");
}

fn spec(name: &str, input: [usize; 3], width: usize) -> Graph {
    let channels = input[0];
    let spec = ArchSpec {
        width: Some(width),
        mean: vec![0.4914, 0.4822, 0.4465][..channels].to_vec(),
        std: vec![0.2471, 0.2435, 0.2616][..channels].to_vec(),
        ..ArchSpec::new(name, input, 10)
    };
    spec.build().unwrap()
}

#[test]
fn thin_residual_networks() {
    // 19 images are more than one batch of the sessions.
    check(&spec("resnet8", [1, 28, 28], 8), 19, 9);
    check(&spec("resnet20", [3, 32, 32], 8), 3, 21);
}

#[test]
fn residual_networks_that_flatten_positions() {
    check(&spec("resnet18", [3, 32, 32], 8), 2, 20);
    // Of the 5 positions of a side the window of 4 leaves one out.
    check(&spec("resnet18", [3, 36, 64], 4), 2, 20);
}

#[test]
fn pre_activation_networks_keep_what_cannot_be_folded() {
    check(&pre_activation(), 3, 3);
}

/// A wide residual network of two blocks: the first widens, its shortcut reads the activation; the
/// second reads a sum.
fn pre_activation() -> Graph {
    let mut nodes: Vec<Node> = Vec::new();
    let mut push = |name: &str, op: Op, inputs: &[Value]| {
        nodes.push(Node { name: name.to_owned(), op, inputs: inputs.to_vec() });
        Value::Node(nodes.len() - 1)
    };
    let conv = |in_channels, out_channels, kernel, stride| Op::Conv2d {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding: kernel / 2,
        bias: false,
    };
    let norm = |channels| Op::BatchNorm2d { channels, eps: 1e-5, momentum: 0.1 };
    let op = Op::Normalize { mean: vec![0.49, 0.48, 0.45], std: vec![0.25, 0.24, 0.26] };
    let x = push("normalize", op, &[Value::Input]);
    let x = push("conv1", conv(3, 4, 3, 1), &[x]);
    let a = push("block1.layer.0.bn1", norm(4), &[x]);
    let a = push("block1.layer.0.relu1", Op::Relu, &[a]);
    let y = push("block1.layer.0.conv1", conv(4, 6, 3, 2), &[a]);
    let y = push("block1.layer.0.bn2", norm(6), &[y]);
    let y = push("block1.layer.0.relu2", Op::Relu, &[y]);
    let y = push("block1.layer.0.conv2", conv(6, 6, 3, 1), &[y]);
    let s = push("block1.layer.0.convShortcut", conv(4, 6, 1, 2), &[a]);
    let x = push("block1.layer.0.add", Op::Add, &[s, y]);
    let a = push("block1.layer.1.bn1", norm(6), &[x]);
    let a = push("block1.layer.1.relu1", Op::Relu, &[a]);
    let y = push("block1.layer.1.conv1", conv(6, 6, 3, 1), &[a]);
    let y = push("block1.layer.1.bn2", norm(6), &[y]);
    let y = push("block1.layer.1.relu2", Op::Relu, &[y]);
    let y = push("block1.layer.1.conv2", conv(6, 6, 3, 1), &[y]);
    let x = push("block1.layer.1.add", Op::Add, &[x, y]);
    let x = push("bn1", norm(6), &[x]);
    let x = push("relu", Op::Relu, &[x]);
    let x = push("pool", Op::AvgPool2d { kernel: 4 }, &[x]);
    let x = push("flatten", Op::Flatten, &[x]);
    push("fc", Op::Linear { in_features: 24, out_features: 5, bias: true }, &[x]);
    Graph { input: [3, 16, 16], classes: 5, nodes }
}
