//! The layers of a graph: those whose weights can be integers, and those that stay in float.

use rift_models::onnx::proto::{NodeProto, TensorProto};
use rift_models::onnx::{Attributes, DataType, GraphIndex, attribute, is_default_domain, tensor};

/// A layer with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its node.
    pub node: usize,
    /// The module's name.
    pub name: String,
    /// Weights, without the bias.
    pub weights: usize,
}

impl Layer {
    fn new(at: usize, node: &NodeProto, weights: Option<&TensorProto>) -> Self {
        Self {
            node: at,
            name: attribute::node_label(node).to_owned(),
            weights: weights.map_or(0, |w| w.dims.iter().product::<i64>() as usize),
        }
    }
}

/// The layers whose weights can be integers, in the graph's order.
pub fn layers(index: &GraphIndex<'_>) -> Vec<Layer> {
    let layer = |(at, node): (usize, &NodeProto)| {
        let weights = index.constant(node.input.get(1)?)?;
        let is_float = tensor::data_type(weights) == DataType::Float;
        (is_float && is_layer(node)).then(|| Layer::new(at, node, Some(weights)))
    };
    index.nodes().iter().enumerate().filter_map(layer).collect()
}

/// The layers that stay in float whatever is asked for: transposed convolutions, say, or products of
/// more than two dimensions.
pub fn always_float(index: &GraphIndex<'_>) -> Vec<Layer> {
    let known: Vec<usize> = layers(index).into_iter().map(|layer| layer.node).collect();
    let layer = |(at, node): (usize, &NodeProto)| {
        let stored = node.input.iter().filter_map(|value| index.constant(value));
        let weights = stored.max_by_key(|tensor| tensor.dims.len()).filter(|w| w.dims.len() > 1);
        let has_weights = match node.op_type() {
            "Conv" | "ConvTranspose" | "Gemm" => true,
            "MatMul" | "Einsum" | "LSTM" | "GRU" | "RNN" => weights.is_some(),
            _ => false,
        };
        (has_weights && !known.contains(&at)).then(|| Layer::new(at, node, weights))
    };
    index.nodes().iter().enumerate().filter_map(layer).collect()
}

/// Whether ONNX Runtime has an integer form of this layer.
pub(super) fn is_layer(node: &NodeProto) -> bool {
    let attributes = Attributes::of(node);
    let plain = |name: &str| attributes.float(name).is_ok_and(|v| v.is_none_or(|v| v == 1.0));
    match node.op_type() {
        "Conv" => is_default_domain(node),
        "Gemm" => {
            is_default_domain(node)
                && plain("alpha")
                && plain("beta")
                && attributes.int("transA").is_ok_and(|v| v.is_none_or(|v| v == 0))
        }
        _ => false,
    }
}
