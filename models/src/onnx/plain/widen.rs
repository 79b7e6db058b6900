//! `float` in place of every other floating-point type, and of bytes for the image.

use ndarray::arr0;

use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::type_proto::Value as TypeValue;
use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::onnx::{DataType, Model, Names, OnnxError, TensorType, is_default_domain, tensor};

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
    for image in &bytes {
        round(graph, image);
    }
    Ok(())
}

fn widen_tensor(stored: &mut TensorProto) -> Result<(), OnnxError> {
    if is_other_float(i64::from(stored.data_type())) {
        *stored = tensor::store(stored.name(), &tensor::load_floats(stored)?);
    }
    Ok(())
}

/// Gives the readers of `image`, whose numbers have become `float`, bytes again, which operators on
/// whole numbers insist on; nobody needs them where all that is done is to make `float` of them.
fn round(graph: &mut GraphProto, image: &str) {
    let converts = |n: &NodeProto| {
        let is_cast = is_default_domain(n) && n.op_type() == "Cast";
        is_cast && n.attribute.iter().any(|a| a.name() == "to" && a.i() == FLOAT)
    };
    let reads = |n: &&NodeProto| n.input.iter().any(|value| value == image);
    if graph.node.iter().filter(reads).all(converts) {
        return;
    }
    let mut names = Names::of(graph);
    let [bytes, step, black] =
        ["bytes", "step", "black"].map(|what| names.fresh(&format!("{image}_{what}")));
    for value in graph.node.iter_mut().flat_map(|n| &mut n.input).filter(|v| *v == image) {
        value.clone_from(&bytes);
    }
    graph.initializer.push(tensor::store(&step, &arr0(1.0f32)));
    graph.initializer.push(tensor::store(&black, &arr0(0u8)));
    let node = NodeProto {
        op_type: Some("QuantizeLinear".to_owned()),
        name: Some(bytes.clone()),
        input: vec![image.to_owned(), step, black],
        output: vec![bytes],
        ..NodeProto::default()
    };
    graph.node.insert(0, node);
}
