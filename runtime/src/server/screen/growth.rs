//! What a few bytes can grow to when the model is loaded or run.
//!
//! Two rules. What is made from a constant shape has a known size, and that is limited. And the size
//! of everything may depend on the size of the image only, never on what it shows: then one run on
//! blank images takes the memory that any image of that size will, and no picture can be a trigger.

use std::collections::HashSet;

use rift_models::onnx::attribute::Attributes;
use rift_models::onnx::proto::NodeProto;
use rift_models::onnx::{GraphError, GraphIndex, tensor};

use super::inspect::place;
use super::operators::sizing_inputs;
use super::{Limits, Violation};

/// Attributes whose numbers add to, or multiply, the sides of an output.
const GROWING_ATTRIBUTES: [&str; 7] =
    ["pads", "output_padding", "output_shape", "shape", "scales", "repeats", "kernel_shape"];

/// Every node that makes more numbers than `limits` allows, and every one whose size depends on what
/// an image shows.
pub(super) fn faults(
    index: &GraphIndex<'_>,
    limits: &Limits,
) -> Result<Vec<Violation>, GraphError> {
    let mut faults = Vec::new();
    let mut shown: HashSet<&str> = index.inputs().iter().map(|input| input.name()).collect();
    let mut total = 0u64;
    for node in index.nodes() {
        for &at in sizing_inputs(node.op_type()) {
            if let Some(value) = node.input.get(at).filter(|value| shown.contains(value.as_str())) {
                let problem = format!(
                    "makes a tensor whose size depends on what the image shows (`{value}`)"
                );
                faults.push(Violation { place: place(node), problem });
            }
        }
        let numbers = described(node, index)?;
        total = total.saturating_add(numbers);
        if numbers > limits.numbers {
            let problem = format!("makes {numbers} numbers, expected at most {}", limits.numbers);
            faults.push(Violation { place: place(node), problem });
        }
        let depends = node.input.iter().any(|value| shown.contains(value.as_str()));
        if depends && !matches!(node.op_type(), "Shape" | "Size") {
            shown.extend(node.output.iter().map(String::as_str).filter(|v| !v.is_empty()));
        }
    }
    if faults.is_empty() && total > limits.numbers {
        let problem =
            format!("makes {total} numbers from constants, expected at most {}", limits.numbers);
        faults.push(Violation { place: "the graph".to_owned(), problem });
    }
    Ok(faults)
}

/// How many numbers the constants and attributes of `node` say that it makes, or adds on every side,
/// at least; 0 where they say nothing. What overflows is the largest number.
fn described(node: &NodeProto, index: &GraphIndex<'_>) -> Result<u64, GraphError> {
    let mut most = 0;
    let attributes = Attributes::of(node);
    for name in GROWING_ATTRIBUTES {
        if let Ok(Some(row)) = attributes.ints(name) {
            most = most.max(if name.starts_with("pad") { padded(row) } else { product(row) });
        }
    }
    let constant = |at: usize| node.input.get(at).and_then(|value| index.constant(value));
    let row = |at: usize| constant(at).map(tensor::load_integers).transpose();
    let described = match node.op_type() {
        "ConstantOfShape" => row(0)?.map_or(0, |shape| product(&shape)),
        "Expand" | "Tile" => row(1)?.map_or(0, |shape| product(&shape)),
        "Pad" => row(1)?.map_or(0, |pads| padded(&pads)),
        "OneHot" => constant(1).map_or(0, |depth| whole(depth).unwrap_or(u64::MAX)),
        "Resize" | "Upsample" => {
            let scales = constant(if node.op_type() == "Resize" { 2 } else { 1 });
            let scaled =
                scales.map_or(0, |t| tensor::load_floats(t).map_or(0, |s| scaled(s.iter())));
            let sizes = if node.op_type() == "Resize" { row(3)? } else { None };
            scaled.max(sizes.map_or(0, |sizes| product(&sizes)))
        }
        "Range" => match (number(constant(0)), number(constant(1)), number(constant(2))) {
            (Some(start), Some(limit), Some(step)) => ((limit - start) / step).ceil() as u64,
            _ => 0,
        },
        _ => 0,
    };
    Ok(most.max(described))
}

/// The product of a shape's dimensions; negative ones stand for others and count as 1.
fn product(dims: &[i64]) -> u64 {
    let length = |d: &i64| u64::try_from(*d).unwrap_or(1);
    dims.iter().map(length).try_fold(1, u64::checked_mul).unwrap_or(u64::MAX)
}

/// The numbers of a single one that is padded so.
fn padded(pads: &[i64]) -> u64 {
    let (before, after) = pads.split_at(pads.len() / 2);
    let side = |(a, b): (&i64, &i64)| 1i64.saturating_add((*a).max(0)).saturating_add((*b).max(0));
    let sides: Vec<i64> = before.iter().zip(after).map(side).collect();
    product(&sides)
}

fn scaled<'s>(scales: impl Iterator<Item = &'s f32>) -> u64 {
    scales.map(|scale| f64::from(*scale).max(1.0)).product::<f64>() as u64
}

fn whole(stored: &rift_models::onnx::proto::TensorProto) -> Option<u64> {
    number(Some(stored)).filter(|number| *number >= 0.0).map(|number| number as u64)
}

fn number(stored: Option<&rift_models::onnx::proto::TensorProto>) -> Option<f64> {
    let stored = stored?;
    if let Ok(row) = tensor::load_integers(stored) {
        return row.first().map(|value| *value as f64);
    }
    tensor::load_floats(stored).ok()?.first().map(|value| f64::from(*value))
}
