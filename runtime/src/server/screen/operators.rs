//! The operators that a classifier may be made of.

use crate::autodiff;

/// Operators without a gradient rule that classifiers need: shapes, constants, choices and whole
/// numbers.
///
/// Not on the list, on purpose: `If`, `Loop`, `Scan` and `SequenceMap`, which hold graphs; random
/// operators, with which no audit can be repeated; strings, sequences and everything that reads or
/// decodes files.
const PLAIN: [&str; 53] = [
    "Acos",
    "Acosh",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Attention",
    "CastLike",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "ConvInteger",
    "Cosh",
    "CumSum",
    "DynamicQuantizeLinear",
    "Equal",
    "EyeLike",
    "Floor",
    "GatherElements",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "MatMulInteger",
    "MeanVarianceNormalization",
    "Mod",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "QLinearConv",
    "QLinearMatMul",
    "Range",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Shrink",
    "Sign",
    "Sinh",
    "Size",
    "Tan",
    "TopK",
    "Trilu",
    "Upsample",
    "Xor",
];

/// Whether `operator` of ONNX's default domain is on the list: it has a gradient rule or is one of
/// [`PLAIN`].
pub(super) fn is_known(operator: &str) -> bool {
    PLAIN.contains(&operator) || autodiff::has_rule(operator)
}

/// The inputs of `operator` that say how large its output is; the others only say what it holds.
pub(super) fn sizing_inputs(operator: &str) -> &'static [usize] {
    match operator {
        "ConstantOfShape" | "NonZero" => &[0],
        "Expand" | "OneHot" | "Pad" | "Reshape" | "Split" | "Squeeze" | "Tile" | "TopK"
        | "Unsqueeze" | "Upsample" => &[1],
        "Range" => &[0, 1, 2],
        "Resize" => &[1, 2, 3],
        "Slice" => &[1, 2, 3, 4],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_that_hold_graphs_or_dice_are_not_known() {
        for operator in
            ["If", "Loop", "Scan", "SequenceMap", "RandomNormal", "Bernoulli", "", "NonMax"]
        {
            assert!(!is_known(operator), "{operator}");
        }
        for operator in ["Conv", "Gemm", "QLinearConv", "DequantizeLinear", "Shape", "NonZero"] {
            assert!(is_known(operator), "{operator}");
        }
    }
}
