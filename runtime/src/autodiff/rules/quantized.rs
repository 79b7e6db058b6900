//! Quantisation, straight through: the rounding is taken for the identity.

use rift_models::onnx::proto::NodeProto;
use rift_models::onnx::{DataType, GraphBuilder, attribute};

use crate::autodiff::emit::{FLOAT, Formula};
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 2] = [
    Rule { op: "DequantizeLinear", check, backward: First(dequantize) },
    Rule { op: "QuantizeLinear", check, backward: First(quantize) },
];

/// Operators that move numbers, pick among them or convert them, so that whole numbers stand for the
/// same before and after.
const MOVES: [&str; 19] = [
    "Cast",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MaxPool",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Whether a value that is no `float` may carry a gradient next to such an operator: the gradient
/// is then by the whole number that stands in it.
pub(in crate::autodiff) fn carries(op: &str, element: Option<DataType>) -> bool {
    match element {
        Some(DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16) => {
            matches!(op, "QuantizeLinear" | "DequantizeLinear") || MOVES.contains(&op)
        }
        // Bytes converted to more bits.
        Some(DataType::Int32 | DataType::Int64) => MOVES.contains(&op),
        _ => false,
    }
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    view.only_first_is_active()?;
    let input = view.input(0)?;
    View::axis(view.attributes().int("axis")?.unwrap_or(1), view.shape(input)?.len().max(2))?;
    if view.attributes().int("block_size")?.unwrap_or(0) != 0 {
        return Err(Refusal::new("its scales are by block"));
    }
    view.shape(view.input(1)?).map(|_| ())
}

/// A scale or zero point, spread along the axis that it belongs to.
fn along_axis(view: &View<'_>, value: &str, builder: &mut GraphBuilder) -> Result<String, Refusal> {
    let parameter = view.shape(value)?;
    if parameter.iter().all(|l| l.fixed() == Some(1)) {
        return Ok(Formula::new(builder).reshape(value, &[]));
    }
    let rank = view.shape(view.input(0)?)?.len();
    let axis = View::axis(view.attributes().int("axis")?.unwrap_or(1), rank)?;
    let mut shape = vec![1; rank];
    shape[axis] = -1;
    Ok(Formula::new(builder).reshape(value, &shape))
}

/// `y = (q − z) s` gives `g s`.
fn dequantize(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let scale = along_axis(view, view.input(1)?, builder)?;
    Ok(vec![(0, Formula::new(builder).mul(gradient, &scale))])
}

fn bounds(element: DataType) -> Option<(f32, f32)> {
    Some(match element {
        DataType::Int8 => (-128.0, 127.0),
        DataType::Uint8 => (0.0, 255.0),
        DataType::Int16 => (-32_768.0, 32_767.0),
        DataType::Uint16 => (0.0, 65_535.0),
        _ => return None,
    })
}

/// `q = round(x / s) + z` gives `g / s` where `q` was not clipped, else 0. Half a step beyond the
/// bounds still rounds to them.
fn quantize(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let element = view.trace.get(view.output()?).map(|t| t.element);
    let (low, high) = element
        .and_then(bounds)
        .ok_or_else(|| Refusal::new("it quantises to another type than 8 or 16 bits"))?;
    let scale = along_axis(view, view.input(1)?, builder)?;
    let mut level = Formula::new(builder).div(view.input(0)?, &scale);
    if let Some(zero) = view.optional(2) {
        let zero = along_axis(view, zero, builder)?;
        let zero = builder.node("Cast", &[&zero], vec![attribute::int("to", FLOAT)]);
        level = Formula::new(builder).add(&level, &zero);
    }
    let mut f = Formula::new(builder);
    let inside = f.is(&level, "GreaterOrEqual", low - 0.5);
    let below = f.is(&level, "LessOrEqual", high + 0.5);
    let inside = f.mul(&inside, &below);
    let passed = f.mul(gradient, &inside);
    Ok(vec![(0, f.div(&passed, &scale))])
}

/// Whether `node` makes of `sources`, the types of what it reads that has a gradient, whole numbers
/// of the type `made` through which the gradient goes on.
pub(in crate::autodiff) fn makes(
    node: &NodeProto,
    sources: &[DataType],
    made: Option<DataType>,
) -> bool {
    let op = node.op_type();
    let goes_on = |source: &DataType| {
        // No number of 16 bits is another with 32.
        let is_wide = op == "Cast" && matches!(made, Some(DataType::Int32 | DataType::Int64));
        carries(op, Some(*source)) && (is_wide || made == Some(*source))
    };
    op == "QuantizeLinear" || (MOVES.contains(&op) && sources.iter().any(goes_on))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::autodiff::testing::Case;

    #[test]
    fn the_rounding_passes_and_the_clipping_does_not() {
        let found = Case::new(&[4]).gradient_at(&[0.1, 0.26, -0.2, 25.6], |b, x| {
            let scale = b.scalar("scale", 0.1);
            let zero = b.array("zero", &ndarray::arr0(1u8));
            let q = b.node("QuantizeLinear", &[x, &scale, &zero], vec![]);
            let y = b.node("DequantizeLinear", &[&q, &scale, &zero], vec![]);
            b.node("Mul", &[&y, &scale], vec![])
        });
        let Some(found) = found else { return };
        let expected = [0.1, 0.1, 0.0, 0.0];
        assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn scales_by_channel() {
        let found = Case::new(&[2, 1]).gradient_at(&[0.1, 3.0], |b, x| {
            let scale = b.floats("scale", &[0.1, 0.01]);
            let zero = b.array("zero", &array![0i8, 0]);
            let axis = vec![attribute::int("axis", -2)];
            let q = b.node("QuantizeLinear", &[x, &scale, &zero], axis.clone());
            b.node("DequantizeLinear", &[&q, &scale, &zero], axis)
        });
        assert!(found.is_none_or(|g| g == [1.0, 0.0]));
    }
}
