//! Operators on whole numbers, as their meaning in `float` between `DequantizeLinear` and
//! `QuantizeLinear`.

use super::rewrite::Rewrite;
use crate::onnx::attribute;
use crate::onnx::graph::is_default_domain;
use crate::onnx::proto::{ModelProto, NodeProto};
use crate::onnx::{Model, OnnxError};

fn is_quantized(node: &NodeProto) -> bool {
    is_default_domain(node) && matches!(node.op_type(), "QLinearConv" | "QLinearMatMul")
}

/// Whether a model has such operators.
pub(super) fn is_needed(model: &Model) -> bool {
    model.graph().node.iter().any(is_quantized)
}

/// Writes them out.
pub(super) fn write_out(proto: &mut ModelProto) -> Result<(), OnnxError> {
    let Some(graph) = &mut proto.graph else { return Ok(()) };
    Rewrite::each(graph, |rewrite, node| {
        if is_quantized(&node) {
            write_out_node(rewrite, &node);
        } else {
            rewrite.push(node);
        }
        Ok(())
    })
}

/// Inputs `x, s, z, w, s, z, s, z` and for convolutions a bias in units of the product of the two
/// scales.
fn write_out_node(rewrite: &mut Rewrite<'_>, node: &NodeProto) {
    let input = |slot: usize| node.input.get(slot).map_or("", String::as_str);
    let is_convolution = node.op_type() == "QLinearConv";
    let left = rewrite.before(node, "DequantizeLinear", &[input(0), input(1), input(2)], vec![]);
    // A weight has a scale an output channel, which is its first dimension; a matrix's is its last.
    let axis = attribute::int("axis", if is_convolution { 0 } else { -1 });
    let right =
        rewrite.before(node, "DequantizeLinear", &[input(3), input(4), input(5)], vec![axis]);
    let result = if is_convolution {
        let mut inputs = vec![left, right];
        if !input(8).is_empty() {
            let unit = rewrite.before(node, "Mul", &[input(1), input(4)], vec![]);
            let to_float = vec![attribute::int("to", crate::onnx::DataType::Float as i64)];
            let bias = rewrite.before(node, "Cast", &[input(8)], to_float);
            inputs.push(rewrite.before(node, "Mul", &[&bias, &unit], vec![]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        rewrite.before(node, "Conv", &inputs, node.attribute.clone())
    } else {
        rewrite.before(node, "MatMul", &[&left, &right], vec![])
    };
    rewrite.push(NodeProto {
        op_type: Some("QuantizeLinear".to_owned()),
        input: vec![result, input(6).to_owned(), input(7).to_owned()],
        attribute: Vec::new(),
        ..node.clone()
    });
}
