//! How many dimensions the values of a graph have.

use std::collections::BTreeMap;

use rift_models::onnx::proto::NodeProto;
use rift_models::onnx::{Attributes, GraphIndex, Model, TensorType, tensor};

/// The ranks of the values of `model`, as far as they are declared or follow from the operators.
pub(super) fn ranks<'m>(model: &'m Model, index: &GraphIndex<'m>) -> BTreeMap<&'m str, usize> {
    let graph = model.graph();
    let declared = graph.input.iter().chain(&graph.value_info).chain(&graph.output);
    let mut ranks: BTreeMap<&str, usize> = declared
        .filter_map(|info| Some((info.name(), TensorType::of(info)?.dims?.len())))
        .collect();
    ranks.extend(graph.initializer.iter().map(|stored| (stored.name(), stored.dims.len())));
    for node in index.nodes() {
        let Some(rank) = rank(node, index, &ranks) else { continue };
        for made in node.output.iter().filter(|made| !made.is_empty()) {
            ranks.entry(made).or_insert(rank);
        }
    }
    ranks
}

/// The rank of what `node` gives, where it is known.
fn rank(node: &NodeProto, index: &GraphIndex<'_>, ranks: &BTreeMap<&str, usize>) -> Option<usize> {
    let of = |value: &String| {
        let stored = index.constant(value).map(|constant| constant.dims.len());
        stored.or_else(|| ranks.get(value.as_str()).copied())
    };
    let first = node.input.first().and_then(of);
    match node.op_type() {
        "Flatten" | "Gemm" => Some(2),
        "Reshape" => usize::try_from(*index.constant(node.input.get(1)?)?.dims.first()?).ok(),
        "Squeeze" => first?.checked_sub(axes(node, index)?),
        "Unsqueeze" => Some(first? + axes(node, index)?),
        "ReduceMean" | "ReduceMax" | "ReduceSum" => {
            match Attributes::of(node).int("keepdims").ok()? {
                Some(0) => first?.checked_sub(axes(node, index)?),
                _ => first,
            }
        }
        "Add" | "Sub" | "Mul" | "Div" | "MatMul" => {
            let ranks: Option<Vec<usize>> = node.input.iter().map(of).collect();
            ranks?.into_iter().max()
        }
        "Relu" | "LeakyRelu" | "PRelu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish"
        | "Tanh" | "Elu" | "Selu" | "Gelu" | "Softplus" | "Softmax" | "LogSoftmax" | "Identity"
        | "Dropout" | "Cast" | "BatchNormalization" | "LayerNormalization" | "Transpose"
        | "Concat" | "Slice" | "Pad" | "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool"
        | "GlobalAveragePool" | "GlobalMaxPool" => first,
        _ => None,
    }
}

/// How many dimensions a node names.
fn axes(node: &NodeProto, index: &GraphIndex<'_>) -> Option<usize> {
    let stored = node.input.get(1).and_then(|value| index.constant(value));
    match stored {
        Some(stored) => Some(tensor::load_integers(stored).ok()?.len()),
        None => Some(Attributes::of(node).ints("axes").ok()??.len()),
    }
}
