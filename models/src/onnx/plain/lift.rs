//! Operators of old operator sets in their form of operator set 17.

use super::PLAIN_OPSET;
use super::form::{set_input, take, take_ints};
use super::rewrite::Rewrite;
use crate::onnx::attribute::{self, node_label};
use crate::onnx::graph::is_default_domain;
use crate::onnx::proto::{ModelProto, NodeProto};
use crate::onnx::{Attributes, OnnxError, tensor};

/// The version of the file format that operator set 17 came with.
const IR_VERSION: i64 = 8;

/// Rewrites every node whose form has changed since `opset`.
pub(super) fn lift(proto: &mut ModelProto, opset: i64) -> Result<(), OnnxError> {
    let Some(graph) = &mut proto.graph else { return Ok(()) };
    Rewrite::each(graph, |rewrite, node| {
        if is_default_domain(&node) {
            return lift_node(rewrite, node, opset);
        }
        rewrite.push(node);
        Ok(())
    })?;
    proto.ir_version = Some(proto.ir_version().max(IR_VERSION));
    for import in &mut proto.opset_import {
        if matches!(import.domain(), "" | "ai.onnx") {
            import.version = Some(PLAIN_OPSET);
        }
    }
    Ok(())
}

fn lift_node(rewrite: &mut Rewrite<'_>, mut node: NodeProto, opset: i64) -> Result<(), OnnxError> {
    let stem = format!("{}_", node_label(&node));
    match node.op_type() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" if opset < 13 => {
            to_input(rewrite, &mut node, ("axes", 1));
        }
        "Split" if opset < 13 => to_input(rewrite, &mut node, ("split", 1)),
        "Softmax" | "LogSoftmax" | "Hardmax" if opset < 13 => {
            coerce(rewrite, node);
            return Ok(());
        }
        "Clip" if opset < 11 => {
            for (slot, name) in [(1, "min"), (2, "max")] {
                if let Some(bound) = take(&mut node, name) {
                    let value = rewrite.scalar(&format!("{stem}{name}"), bound.f());
                    set_input(&mut node, slot, value);
                }
            }
        }
        "Pad" if opset < 11 => {
            let value = take(&mut node, "value").map_or(0.0, |a| a.f());
            to_input(rewrite, &mut node, ("pads", 1));
            let value = rewrite.scalar(&format!("{stem}value"), value);
            set_input(&mut node, 2, value);
        }
        "Slice" if opset < 10 => {
            for setting in [("starts", 1), ("ends", 2), ("axes", 3)] {
                to_input(rewrite, &mut node, setting);
            }
        }
        "TopK" if opset < 10 => {
            let count = take(&mut node, "k").map_or(1, |a| a.i());
            let count = rewrite.integers(&format!("{stem}k"), &[count]);
            set_input(&mut node, 1, count);
        }
        "Dropout" if opset < 12 => drop(take(&mut node, "ratio")),
        "BatchNormalization" if opset < 14 => {
            if take(&mut node, "spatial").is_some_and(|a| a.i() == 0) {
                return Err(no_counterpart(&node, "attribute `spatial` 0"));
            }
            if node.output.iter().skip(1).any(|output| !output.is_empty()) {
                // Who names what is only known in training trains: ONNX Runtime too.
                node.attribute.push(attribute::int("training_mode", 1));
                node.output.truncate(3);
            } else {
                node.output.truncate(1);
            }
        }
        "Upsample" if opset < 10 => upsample(rewrite, &mut node, opset)?,
        "Resize" if opset < 11 => resize(rewrite, &mut node),
        "Scatter" if opset < 11 => node.op_type = Some("ScatterElements".to_owned()),
        "Upsample" | "Scatter" => return Err(no_counterpart(&node, "a newer operator set")),
        _ => {}
    }
    rewrite.push(node);
    Ok(())
}

fn no_counterpart(node: &NodeProto, with: &str) -> OnnxError {
    let what = format!("the node `{}` ({}) with {with}", node_label(node), node.op_type());
    OnnxError::Unsupported { what }
}

fn to_input(rewrite: &mut Rewrite<'_>, node: &mut NodeProto, (name, slot): (&str, usize)) {
    if let Some(values) = take_ints(node, name) {
        let stored = rewrite.integers(&format!("{}_{name}", node_label(node)), &values);
        set_input(node, slot, stored);
    }
}

/// Before version 13 the dimensions from `axis` on were one.
fn coerce(rewrite: &mut Rewrite<'_>, mut node: NodeProto) {
    let axis = take(&mut node, "axis").map_or(1, |a| a.i());
    node.attribute.push(attribute::int("axis", -1));
    if axis == -1 {
        rewrite.push(node);
        return;
    }
    let Some(input) = node.input.first().cloned() else { return rewrite.push(node) };
    let flat = rewrite.before(&node, "Flatten", &[&input], vec![attribute::int("axis", axis)]);
    let result = rewrite.before(&node, node.op_type(), &[&flat], node.attribute.clone());
    rewrite.reshape_to(node, &input, result);
}

/// `Upsample` is `Resize` that repeats from the first number on.
fn upsample(rewrite: &mut Rewrite<'_>, node: &mut NodeProto, opset: i64) -> Result<(), OnnxError> {
    if opset < 9 {
        let Some(scales) = take(node, "scales") else {
            return Err(no_counterpart(node, "no attribute `scales`"));
        };
        let scales = rewrite.floats(&format!("{}_scales", node_label(node)), &scales.floats);
        set_input(node, 1, scales);
    }
    resize(rewrite, node);
    Ok(())
}

/// `Resize` of version 10 as that of 11: the scales move, and what was the only way gets a name.
///
/// The nearest number was the next above along a dimension that shrinks and the next below along
/// the others. Version 11 has one way for all dimensions, so where both may be wanted, one node
/// shrinks and another does the rest.
fn resize(rewrite: &mut Rewrite<'_>, node: &mut NodeProto) {
    let can_shrink = node.op_type() == "Resize";
    node.op_type = Some("Resize".to_owned());
    let scales = node.input.get(1).cloned().unwrap_or_default();
    node.input.truncate(1);
    if let Ok(Some("bilinear" | "trilinear")) = Attributes::of(node).string("mode") {
        take(node, "mode");
        node.attribute.push(attribute::string("mode", "linear"));
    }
    let is_nearest = matches!(Attributes::of(node).string("mode"), Ok(None | Some("nearest")));
    node.attribute.push(attribute::string("coordinate_transformation_mode", "asymmetric"));
    let stored = rewrite.stored(&scales).and_then(|t| tensor::load::<f32>(t).ok());
    let any = |is: fn(&f32) -> bool| stored.as_ref().is_none_or(|scales| scales.iter().any(is));
    let shrinks = can_shrink && any(|scale| *scale < 1.0);
    let nearest = |way: &str| attribute::string("nearest_mode", way);
    if is_nearest && shrinks && any(|scale| *scale > 1.0) {
        let one = rewrite.floats(&format!("{}_one", node_label(node)), &[1.0]);
        let down = rewrite.before(node, "Min", &[&scales, &one], vec![]);
        let up = rewrite.before(node, "Max", &[&scales, &one], vec![]);
        let input = node.input.first().cloned().unwrap_or_default();
        let settings = [node.attribute.as_slice(), &[nearest("ceil")]].concat();
        let shrunk = rewrite.before(node, "Resize", &[&input, "", &down], settings);
        node.input = vec![shrunk, String::new(), up];
        node.attribute.push(nearest("floor"));
        return;
    }
    set_input(node, 2, scales);
    node.attribute.push(nearest(if shrinks { "ceil" } else { "floor" }));
}
