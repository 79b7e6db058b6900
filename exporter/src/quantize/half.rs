//! Weights in half precision: half the size, computed with in float32.

use std::collections::{BTreeMap, BTreeSet};

use half::f16;
use rift_models::onnx::proto::{NodeProto, TensorProto};
use rift_models::onnx::{DataType, GraphIndex, Model, Names, attribute, tensor};

use super::QuantizeError;
use super::layers::{Layer, layers};
use super::rewrite::constants_are_no_inputs;

/// A weight in half precision.
struct Half {
    stored: TensorProto,
    /// The name of its numbers in float32.
    wide: String,
}

/// `model` with the weights of its layers, but for those in `float_layers`, in half precision and a
/// `Cast` before each reader, which ONNX Runtime folds away when it loads the model.
///
/// A weight that a layer in `float_layers` reads too is stored in both.
///
/// # Errors
/// If a weight is beyond the range of half precision.
pub fn halve(model: &Model, float_layers: &BTreeSet<String>) -> Result<Model, QuantizeError> {
    let index = GraphIndex::new(model)?;
    let (float, narrow): (Vec<Layer>, Vec<Layer>) =
        layers(&index).into_iter().partition(|layer| float_layers.contains(&layer.name));
    let float: BTreeSet<usize> = float.into_iter().map(|layer| layer.node).collect();
    let kept = float.iter().map(|at| index.nodes()[*at].input[1].as_str()).collect();
    let halves = halves(&index, (&narrow, &kept), Names::of(model.graph()))?;
    let mut proto = model.proto().clone();
    constants_are_no_inputs(&mut proto);
    if let Some(graph) = &mut proto.graph {
        for stored in &mut graph.initializer {
            let half = halves.get(stored.name()).filter(|_| !kept.contains(stored.name()));
            if let Some(half) = half {
                *stored = half.stored.clone();
            }
        }
        let beside = halves.iter().filter(|(name, _)| kept.contains(name.as_str()));
        graph.initializer.extend(beside.map(|(_, half)| half.stored.clone()));
        for (_, node) in graph.node.iter_mut().enumerate().filter(|(at, _)| !float.contains(at)) {
            for input in &mut node.input {
                if let Some(half) = halves.get(input) {
                    input.clone_from(&half.wide);
                }
            }
        }
        let casts = halves.values().map(|half| NodeProto {
            op_type: Some("Cast".to_owned()),
            input: vec![half.stored.name().to_owned()],
            output: vec![half.wide.clone()],
            attribute: vec![attribute::int("to", DataType::Float as i64)],
            ..NodeProto::default()
        });
        graph.node.splice(0..0, casts);
    }
    let written = Model::from_proto(proto)?;
    GraphIndex::new(&written)?;
    Ok(written)
}

/// The weights of `layers` by name, those in `kept` under another than their own.
fn halves(
    index: &GraphIndex<'_>,
    (layers, kept): (&[Layer], &BTreeSet<&str>),
    mut names: Names,
) -> Result<BTreeMap<String, Half>, QuantizeError> {
    let mut halves = BTreeMap::new();
    for layer in layers {
        let node = &index.nodes()[layer.node];
        let name = &node.input[1];
        if halves.contains_key(name) {
            continue;
        }
        let weight = tensor::load::<f32>(index.constant_input(node, 1)?)?;
        let half = weight.mapv(f16::from_f32);
        if half.iter().any(|w| !w.is_finite()) {
            return Err(QuantizeError::Half { layer: layer.name.clone() });
        }
        let is_kept = kept.contains(name.as_str());
        let stored = if is_kept { names.fresh(&format!("{name}.f16")) } else { name.clone() };
        let wide = names.fresh(&format!("{name}.f32"));
        halves.insert(name.clone(), Half { stored: tensor::store(&stored, &half), wide });
    }
    Ok(halves)
}
