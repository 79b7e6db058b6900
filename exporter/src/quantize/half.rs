//! Weights in half precision: half the size, computed with in float32.

use std::collections::BTreeMap;

use half::f16;
use rift_models::onnx::proto::NodeProto;
use rift_models::onnx::{DataType, GraphIndex, Model, attribute, tensor};

use super::QuantizeError;
use super::plan::layers;
use super::rewrite::constants_are_no_inputs;

/// `model` with the weights of its layers, but for those in `float_layers`, in half precision and a
/// `Cast` before each reader, which ONNX Runtime folds away when it loads the model.
///
/// # Errors
/// If a weight is beyond the range of half precision.
pub fn halve(
    model: &Model,
    float_layers: &std::collections::BTreeSet<String>,
) -> Result<Model, QuantizeError> {
    let index = GraphIndex::new(model)?;
    let mut halves = BTreeMap::new();
    for layer in layers(&index).iter().filter(|layer| !float_layers.contains(&layer.name)) {
        let node = &index.nodes()[layer.node];
        let weight = tensor::load::<f32>(index.constant_input(node, 1)?)?;
        let half = weight.mapv(f16::from_f32);
        if half.iter().any(|w| !w.is_finite()) {
            return Err(QuantizeError::Half { layer: layer.name.clone() });
        }
        halves.insert(node.input[1].clone(), tensor::store(&node.input[1], &half));
    }
    let mut proto = model.proto().clone();
    constants_are_no_inputs(&mut proto);
    if let Some(graph) = &mut proto.graph {
        for stored in &mut graph.initializer {
            if let Some(half) = halves.get(stored.name()) {
                *stored = half.clone();
            }
        }
        let wide = |name: &str| format!("{name}.f32");
        for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
            if halves.contains_key(input) {
                *input = wide(input);
            }
        }
        let casts = halves.keys().map(|name| NodeProto {
            op_type: Some("Cast".to_owned()),
            input: vec![name.clone()],
            output: vec![wide(name)],
            attribute: vec![attribute::int("to", DataType::Float as i64)],
            ..NodeProto::default()
        });
        graph.node.splice(0..0, casts);
    }
    let written = Model::from_proto(proto)?;
    GraphIndex::new(&written)?;
    Ok(written)
}
