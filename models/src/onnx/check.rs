//! What must hold of a decoded model before anything else looks at it.

use super::OnnxError;
use super::attribute::node_label;
use super::proto::{AttributeProto, ModelProto, NodeProto, OperatorSetIdProto};
use super::tensor;

/// The most nodes, and the most initialisers, of a graph.
const MAX_ENTRIES: usize = 100_000;

/// The operator-set version of the default domain, once the model has been found sound.
pub(super) fn check(model: &ModelProto) -> Result<i64, OnnxError> {
    let Some(graph) = &model.graph else { return Err(OnnxError::Missing { what: "graph" }) };
    for (what, found) in [
        ("nodes", graph.node.len()),
        ("initialisers", graph.initializer.len()),
        ("inputs", graph.input.len()),
        ("outputs", graph.output.len()),
    ] {
        if found > MAX_ENTRIES {
            return Err(OnnxError::TooMany { what, found, limit: MAX_ENTRIES });
        }
    }
    if let Some(function) = model.functions.first() {
        let what = format!("the function `{}`", function.name());
        return Err(OnnxError::Unsupported { what });
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(OnnxError::Unsupported { what: "a sparse initialiser".into() });
    }
    for initializer in &graph.initializer {
        tensor::check(initializer)?;
    }
    for node in &graph.node {
        for attribute in &node.attribute {
            check_attribute(node, attribute)?;
        }
    }
    opset(model)
}

fn opset(model: &ModelProto) -> Result<i64, OnnxError> {
    let is_default = |domain: &str| domain.is_empty() || domain == "ai.onnx";
    let mut versions = model
        .opset_import
        .iter()
        .filter(|o| is_default(o.domain()))
        .map(OperatorSetIdProto::version);
    match (versions.next(), versions.next()) {
        (Some(version), None) if version > 0 => Ok(version),
        (None, _) => Err(OnnxError::Missing { what: "version of the default operator set" }),
        _ => Err(OnnxError::Unsupported { what: "more than one operator set or none".into() }),
    }
}

fn check_attribute(node: &NodeProto, attribute: &AttributeProto) -> Result<(), OnnxError> {
    if attribute.g.is_some() || !attribute.graphs.is_empty() {
        let what = format!("the subgraph of node `{}` ({})", node_label(node), node.op_type());
        return Err(OnnxError::Unsupported { what });
    }
    if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
        let what = format!("the sparse tensor of node `{}`", node_label(node));
        return Err(OnnxError::Unsupported { what });
    }
    for tensor in attribute.t.iter().chain(&attribute.tensors) {
        tensor::check(tensor)?;
    }
    Ok(())
}
