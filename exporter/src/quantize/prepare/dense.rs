//! Linear layers that are written as a product and a sum, as Keras writes them, as `Gemm`.

use std::collections::BTreeSet;

use rift_models::onnx::proto::NodeProto;
use rift_models::onnx::{DataType, GraphIndex, Model, is_default_domain, tensor};

use super::super::QuantizeError;
use super::rank::ranks;

/// `model` with every `MatMul` of rows and a stored matrix as a `Gemm`, the row that is added behind it
/// as its bias; nothing where there is none.
///
/// # Errors
/// If the graph cannot be read.
pub(super) fn lower(model: &Model) -> Result<Option<Model>, QuantizeError> {
    let index = GraphIndex::new(model)?;
    if index.nodes().iter().all(|node| node.op_type() != "MatMul") {
        return Ok(None);
    }
    let ranks = ranks(model, &index);
    let is_row = |node: &NodeProto| {
        let rank = node.input.first().and_then(|value| ranks.get(value.as_str()));
        rank == Some(&2)
    };
    let mut nodes = index.nodes().to_vec();
    let mut gone = BTreeSet::new();
    let mut found = false;
    for (at, node) in index.nodes().iter().enumerate() {
        let Some(outputs) = outputs(&index, node).filter(|_| is_row(node)) else { continue };
        let gemm = &mut nodes[at];
        gemm.op_type = Some("Gemm".to_owned());
        if let Some((sum, bias)) = bias(&index, node, outputs) {
            super::keep_label(gemm);
            gemm.input.push(bias.to_owned());
            gemm.output.clone_from(&index.nodes()[sum].output);
            gone.insert(sum);
        }
        found = true;
    }
    if !found {
        return Ok(None);
    }
    let mut at = 0;
    nodes.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
    super::written(model, nodes, Vec::new()).map(Some)
}

/// The outputs of a product with a stored matrix.
fn outputs(index: &GraphIndex<'_>, node: &NodeProto) -> Option<i64> {
    let is_product = node.op_type() == "MatMul" && is_default_domain(node);
    let [rows, matrix] = &node.input[..] else { return None };
    let stored = index.constant(matrix).filter(|_| is_product && index.constant(rows).is_none())?;
    match stored.dims[..] {
        [_, outputs] if tensor::data_type(stored) == DataType::Float => Some(outputs),
        _ => None,
    }
}

/// The sum that alone reads the product, with the row that it adds to each.
fn bias<'m>(index: &GraphIndex<'m>, product: &NodeProto, outputs: i64) -> Option<(usize, &'m str)> {
    let made = product.output.first()?;
    let &[reader] = index.consumers(made) else { return None };
    let sum = &index.nodes()[reader];
    let is_output = index.outputs().iter().any(|output| output.name() == made.as_str());
    if is_output || sum.op_type() != "Add" || !is_default_domain(sum) {
        return None;
    }
    let bias = sum.input.iter().find(|value| *value != made)?;
    let stored = index.constant(bias)?;
    let fits = matches!(stored.dims[..], [n] | [1, n] if n == outputs);
    (fits && tensor::data_type(stored) == DataType::Float).then_some((reader, bias.as_str()))
}
