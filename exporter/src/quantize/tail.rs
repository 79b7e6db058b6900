//! What stands between the last layer and the model's outputs: a softmax, a shape.
//!
//! The logits stay float, and so does whatever becomes of them: rounded to a byte before a softmax they
//! would be worth no more than rounded after it.

use std::collections::BTreeSet;

use rift_models::onnx::GraphIndex;
use rift_models::onnx::proto::NodeProto;

/// The values that lead to outputs of the model alone, the outputs among them.
pub(super) fn tail<'m>(index: &GraphIndex<'m>) -> BTreeSet<&'m str> {
    let is_output = |value: &str| index.outputs().iter().any(|output| output.name() == value);
    let mut tail: BTreeSet<&str> = BTreeSet::new();
    for node in index.nodes().iter().rev() {
        for value in node.output.iter().filter(|value| !value.is_empty()) {
            let readers = index.consumers(value);
            let leads_on = readers.iter().all(|at| {
                let reader = &index.nodes()[*at];
                let passes =
                    passed(index, reader) == Some(value.as_str()) || reader.op_type() == "Add";
                passes && reader.output.first().is_some_and(|made| tail.contains(made.as_str()))
            });
            if leads_on && (is_output(value) || !readers.is_empty()) {
                tail.insert(value);
            }
        }
    }
    tail
}

/// The value whose numbers a node hands on one by one, all shifted alike for each class: as they are,
/// scaled, or as probabilities.
pub(super) fn passed<'m>(index: &GraphIndex<'_>, node: &'m NodeProto) -> Option<&'m str> {
    match node.op_type() {
        "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Cast" | "Dropout"
        | "Softmax" | "LogSoftmax" => node.input.first().map(String::as_str),
        "Add" | "Sub" | "Mul" | "Div" => {
            let mut computed = node.input.iter().filter(|value| index.constant(value).is_none());
            let only = computed.next().map(String::as_str);
            only.filter(|_| computed.next().is_none())
        }
        _ => None,
    }
}
