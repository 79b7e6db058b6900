//! Weights that are nodes of their own as initialisers.
//!
//! Some exporters keep weights in `Constant` nodes, and where two modules have equal parameters PyTorch
//! stores one and hands it on through `Identity`.

use std::collections::{BTreeMap, BTreeSet};

use rift_models::onnx::proto::{NodeProto, TensorProto};
use rift_models::onnx::{DataType, GraphIndex, Model, is_default_domain, tensor};

use super::super::QuantizeError;

/// `model` with the weights of its `Constant` and `Identity` nodes among the initialisers; nothing
/// where there are none.
///
/// # Errors
/// If the graph cannot be read.
pub(super) fn gather(model: &Model) -> Result<Option<Model>, QuantizeError> {
    let index = GraphIndex::new(model)?;
    let is_output = |value: &str| index.outputs().iter().any(|output| output.name() == value);
    let mut stored: Vec<TensorProto> = Vec::new();
    let mut stands_for: BTreeMap<&str, &str> = BTreeMap::new();
    let mut gone = BTreeSet::new();
    for (at, node) in index.nodes().iter().enumerate().filter(|(_, node)| is_default_domain(node)) {
        let Some(made) = node.output.first().map(String::as_str).filter(|made| !is_output(made))
        else {
            continue;
        };
        match (node.op_type(), node.input.first().map(String::as_str)) {
            ("Constant", _) => {
                let Some(weight) = index.constant(made).filter(|weight| is_weight(weight)) else {
                    continue;
                };
                stored.push(TensorProto { name: Some(made.to_owned()), ..weight.clone() });
            }
            ("Identity", Some(read)) => {
                let read = stands_for.get(read).copied().unwrap_or(read);
                if !index.constant(read).is_some_and(is_weight) {
                    continue;
                }
                stands_for.insert(made, read);
            }
            _ => continue,
        }
        gone.insert(at);
    }
    if gone.is_empty() {
        return Ok(None);
    }
    let kept = index.nodes().iter().enumerate().filter(|(at, _)| !gone.contains(at));
    let nodes = kept.map(|(_, node)| reading(node, &stands_for)).collect();
    super::written(model, nodes, stored).map(Some)
}

/// Single numbers are settings, which every operator takes from a node as well.
fn is_weight(constant: &TensorProto) -> bool {
    tensor::data_type(constant) == DataType::Float && !constant.dims.is_empty()
}

/// `node` with the values that others stand for in their place.
fn reading(node: &NodeProto, stands_for: &BTreeMap<&str, &str>) -> NodeProto {
    let mut node = node.clone();
    for input in &mut node.input {
        if let Some(source) = stands_for.get(input.as_str()) {
            (*source).clone_into(input);
        }
    }
    node
}
