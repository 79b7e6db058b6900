//! Settings that move from a node's attributes to its inputs.

use crate::onnx::proto::{AttributeProto, NodeProto};

/// Takes an attribute away from a node.
pub(super) fn take(node: &mut NodeProto, name: &str) -> Option<AttributeProto> {
    let at = node.attribute.iter().position(|a| a.name() == name)?;
    Some(node.attribute.remove(at))
}

/// Whole numbers taken away from a node.
pub(super) fn take_ints(node: &mut NodeProto, name: &str) -> Option<Vec<i64>> {
    take(node, name).map(|a| a.ints)
}

/// Sets input `slot`; those before it that are not there are left out.
pub(super) fn set_input(node: &mut NodeProto, slot: usize, value: String) {
    if node.input.len() <= slot {
        node.input.resize(slot + 1, String::new());
    }
    node.input[slot] = value;
}
