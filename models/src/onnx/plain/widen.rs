//! `float` in place of every other floating-point type, and of bytes for the image.

use super::rewrite::Rewrite;
use crate::onnx::attribute::{self, node_label};
use crate::onnx::graph::is_default_domain;
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::type_proto::Value as TypeValue;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::onnx::{DataType, Model, OnnxError, TensorType, tensor};

const FLOAT: i64 = DataType::Float as i64;

fn is_other_float(code: i64) -> bool {
    let other = [DataType::Float16, DataType::Bfloat16, DataType::Double];
    other.iter().any(|t| *t as i64 == code)
}

/// The names of the inputs that are bytes; the stored ones do not count.
fn byte_inputs(graph: &GraphProto) -> Vec<String> {
    let is_bytes = |i: &&ValueInfoProto| {
        TensorType::of(i).is_some_and(|t| t.element == DataType::Uint8)
            && graph.initializer.iter().all(|t| t.name() != i.name())
    };
    graph.input.iter().filter(is_bytes).map(|i| i.name().to_owned()).collect()
}

/// Whether a model has another floating-point type, or takes bytes.
pub(super) fn is_needed(model: &Model) -> bool {
    let graph = model.graph();
    let is_other = |t: &TensorProto| is_other_float(i64::from(t.data_type()));
    let declared = |i: &ValueInfoProto| {
        TensorType::of(i).is_some_and(|t| is_other_float(i64::from(t.element as i32)))
    };
    graph.initializer.iter().any(is_other)
        || graph.input.iter().chain(&graph.output).any(declared)
        || graph.node.iter().flat_map(|n| &n.attribute).any(|a| {
            a.t.as_ref().is_some_and(is_other) || (a.name() == "to" && is_other_float(a.i()))
        })
        || !byte_inputs(graph).is_empty()
}

/// Rewrites types and stored numbers.
pub(super) fn widen(proto: &mut ModelProto) -> Result<(), OnnxError> {
    let Some(graph) = &mut proto.graph else { return Ok(()) };
    let bytes = byte_inputs(graph);
    graph.value_info.clear();
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let is_image = bytes.iter().any(|b| b == info.name());
        let Some(TypeValue::TensorType(declared)) =
            info.r#type.as_mut().and_then(|t| t.value.as_mut())
        else {
            continue;
        };
        if is_image || is_other_float(i64::from(declared.elem_type())) {
            declared.elem_type = Some(DataType::Float as i32);
        }
    }
    graph.initializer.iter_mut().try_for_each(widen_tensor)?;
    for attribute in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
        if let Some(stored) = &mut attribute.t {
            widen_tensor(stored)?;
        }
        let is_type = matches!(attribute.name(), "to" | "dtype" | "output_dtype");
        if is_type && attribute.r#type() == AttributeType::Int && is_other_float(attribute.i()) {
            attribute.i = Some(FLOAT);
        }
    }
    Rewrite::each(graph, |rewrite, node| {
        let reads_image = node.input.first().is_some_and(|i| bytes.contains(i));
        if reads_image && is_default_domain(&node) && node.op_type() == "DequantizeLinear" {
            scale(rewrite, &node);
        } else {
            rewrite.push(node);
        }
        Ok(())
    })
}

fn widen_tensor(stored: &mut TensorProto) -> Result<(), OnnxError> {
    if is_other_float(i64::from(stored.data_type())) {
        *stored = tensor::store(stored.name(), &tensor::load_floats(stored)?);
    }
    Ok(())
}

/// `(x − z) · s`, as `DequantizeLinear` does to bytes.
fn scale(rewrite: &mut Rewrite<'_>, node: &NodeProto) {
    let input = |slot: usize| node.input.get(slot).cloned().unwrap_or_default();
    let mut value = input(0);
    let zero = input(2);
    if !zero.is_empty() {
        let to_float = vec![attribute::int("to", FLOAT)];
        let zero = rewrite.before(node, "Cast", &[&zero], to_float);
        value = rewrite.before(node, "Sub", &[&value, &zero], vec![]);
    }
    rewrite.push(NodeProto {
        op_type: Some("Mul".to_owned()),
        name: Some(node_label(node).to_owned()),
        input: vec![value, input(1)],
        output: node.output.clone(),
        ..NodeProto::default()
    });
}
