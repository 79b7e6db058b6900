//! One operator of a network as ONNX nodes.

use ndarray::Array3;
use rift_models::arch::{Node, Op};
use rift_models::artifact::TensorMap;
use rift_models::onnx::proto::AttributeProto;
use rift_models::onnx::{GraphBuilder, attribute};

/// Appends `node`, which reads the values `inputs`, to `builder`; its output is called `value`, or
/// like it where that is taken. Returns the output's name.
///
/// `node` has been checked: it has as many inputs as its operator takes, and its tensors are there.
pub(super) fn lower(
    builder: &mut GraphBuilder,
    node: &Node,
    inputs: &[&str],
    tensors: &TensorMap,
    value: &str,
) -> String {
    let mut reads: Vec<String> = inputs.iter().map(|&input| input.to_owned()).collect();
    let (op, attributes) = match &node.op {
        Op::Normalize { mean, std } => {
            // Subtracting and dividing, as PyTorch does, rounds as PyTorch does.
            let mut by_channel = |suffix: &str, values: &[f32]| {
                let values = Array3::from_shape_fn((values.len(), 1, 1), |(c, _, _)| values[c]);
                builder.array(&format!("{}.{suffix}", node.name), &values)
            };
            let [mean, std] = [by_channel("mean", mean), by_channel("std", std)];
            let centre = format!("{}.subtract", node.name);
            let centred = builder.named_node(&centre, "Sub", &[inputs[0], &mean], vec![]);
            reads = vec![centred, std];
            ("Div", vec![])
        }
        Op::Conv2d { kernel, stride, padding, .. } => {
            ("Conv", window(*kernel, *stride, Some(*padding)))
        }
        // PyTorch's order of the tensors is also ONNX's: scale, shift, mean, variance.
        Op::BatchNorm2d { eps, .. } => {
            ("BatchNormalization", vec![attribute::float("epsilon", *eps as f32)])
        }
        Op::Relu => ("Relu", vec![]),
        Op::Add => ("Add", vec![]),
        Op::AvgPool2d { kernel } => ("AveragePool", window(*kernel, *kernel, None)),
        Op::GlobalAvgPool => ("GlobalAveragePool", vec![]),
        Op::Flatten => ("Flatten", vec![attribute::int("axis", 1)]),
        Op::Linear { .. } => ("Gemm", vec![attribute::int("transB", 1)]),
    };
    for param in node.op.params() {
        let name = format!("{}.{}", node.name, param.suffix);
        if let Some(tensor) = tensors.get(&name) {
            reads.push(builder.array(&name, tensor));
        }
    }
    let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
    builder.named_node(value, op, &reads, attributes)
}

/// The attributes of a square window.
fn window(kernel: usize, stride: usize, padding: Option<usize>) -> Vec<AttributeProto> {
    let sides = |n: usize| [n as i64; 2];
    let mut attributes = vec![attribute::ints("kernel_shape", &sides(kernel))];
    attributes.extend(padding.map(|n| attribute::ints("pads", &[n as i64; 4])));
    attributes.push(attribute::ints("strides", &sides(stride)));
    attributes
}
