//! `GroupNormalization` of operator sets 18 to 20, which deprecate what they define: a scale a group
//! and not a channel.

use super::rewrite::Rewrite;
use crate::onnx::graph::is_default_domain;
use crate::onnx::proto::{AttributeProto, ModelProto, NodeProto};
use crate::onnx::{Model, OnnxError};

fn is_grouped(node: &NodeProto) -> bool {
    is_default_domain(node) && node.op_type() == "GroupNormalization" && node.input.len() == 3
}

/// Whether a model has such nodes.
pub(super) fn is_needed(model: &Model) -> bool {
    (18..21).contains(&model.opset()) && model.graph().node.iter().any(is_grouped)
}

/// Writes them out.
pub(super) fn write_out(proto: &mut ModelProto) -> Result<(), OnnxError> {
    let Some(graph) = &mut proto.graph else { return Ok(()) };
    Rewrite::each(graph, |rewrite, node| {
        match node.attribute.iter().find(|a| a.name() == "num_groups").map(AttributeProto::i) {
            Some(groups) if is_grouped(&node) => write_out_node(rewrite, node, groups),
            _ => rewrite.push(node),
        }
        Ok(())
    })
}

/// A group is one channel of as many rows, so this is the normalisation of each channel.
fn write_out_node(rewrite: &mut Rewrite<'_>, node: NodeProto, groups: i64) {
    let rows = rewrite.integers("rows", &[0, groups, -1]);
    let [input, scale, bias] = [0, 1, 2].map(|slot| node.input[slot].clone());
    let grouped = rewrite.before(&node, "Reshape", &[&input, &rows], vec![]);
    let epsilon = node.attribute.iter().filter(|a| a.name() == "epsilon").cloned().collect();
    let inputs = [grouped.as_str(), &scale, &bias];
    let result = rewrite.before(&node, "InstanceNormalization", &inputs, epsilon);
    rewrite.reshape_to(node, &input, result);
}
