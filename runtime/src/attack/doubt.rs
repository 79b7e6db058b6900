//! How far the logits of a gradient pass can be taken for those of the served model.

use rift_models::onnx::proto::{NodeProto, ValueInfoProto};
use rift_models::onnx::{DataType, Model, TensorType};

use crate::session::{Classifier, Precision};

/// What two passes in float32 differ by, with room to spare; relative to the logits' size.
pub(super) const ROUNDING: f32 = 1e-4;
/// bfloat16 has 8 bits, of which some are lost on the way.
const BF16: f32 = 0.05;

/// The doubt of the classifier's own gradient graphs, which are in float32 whatever the model is in.
///
/// Where the model rounds more coarsely on its way, one value that falls on the other side of a step
/// moves the logits by any amount: then only the model itself can say what it makes of an image.
pub(super) fn of_own_graphs(classifier: &Classifier) -> f32 {
    if is_coarse(classifier.model()) {
        return f32::INFINITY;
    }
    match classifier.engine().steering() {
        Precision::Float32 => ROUNDING,
        Precision::Bf16 => BF16,
    }
}

/// Whether a model computes in whole numbers or in another floating-point type than float32.
///
/// Weights that are only stored so, and become float32 before they meet the image, do not count.
pub(super) fn is_coarse(model: &Model) -> bool {
    let graph = model.graph();
    let declares = |info: &ValueInfoProto| {
        TensorType::of(info).is_some_and(|tensor| is_other_float(i64::from(tensor.element as i32)))
    };
    graph.input.iter().chain(&graph.output).any(declares) || graph.node.iter().any(leaves_float32)
}

/// Whether an operator is there to compute in another type.
fn leaves_float32(node: &NodeProto) -> bool {
    let op = node.op_type();
    match op {
        "Cast" => node.attribute.iter().any(|a| a.name() == "to" && is_other_float(a.i())),
        "CastLike" => true,
        // QuantizeLinear, DynamicQuantizeLinear, QLinearConv, QGemm, ConvInteger and their like.
        _ => op.starts_with('Q') || op.contains("Quantize") || op.contains("Integer"),
    }
}

fn is_other_float(element: i64) -> bool {
    use DataType::{Bfloat16, Double, Float16};
    [Float16, Bfloat16, Double].iter().any(|other| i64::from(*other as i32) == element)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rift_models::onnx::{Dim, GraphBuilder, attribute};

    use super::*;
    use crate::small_models::{conv_net, linear_net};

    /// A classifier of one operator or two, `element` outside.
    fn model(element: DataType, nodes: &[(&str, Option<DataType>)]) -> Model {
        let mut builder = GraphBuilder::new("narrow", 17);
        let dims = [Dim::free("N"), Dim::Fixed(4)];
        let mut value = builder.input("x", element, &dims).unwrap();
        for (op, to) in nodes {
            let to = to.map(|to| attribute::int("to", to as i64));
            value = builder.node(op, &[&value], to.into_iter().collect());
        }
        builder.node_making("logits", "Identity", &[&value], vec![]).unwrap();
        builder.output("logits", element, &dims);
        builder.finish().unwrap()
    }

    #[test]
    fn only_what_leaves_float32_is_coarse() {
        use DataType::{Double, Float, Float16, Int64, Uint8};
        for (element, nodes) in [
            (Float, &[][..]),
            (Uint8, &[]),
            (Float, &[("Relu", None), ("Cast", Some(Int64)), ("Cast", Some(Float))]),
        ] {
            assert!(!is_coarse(&model(element, nodes)), "{element:?} {nodes:?}");
        }
        for (element, nodes) in [
            (Float16, &[][..]),
            (Double, &[]),
            (Float, &[("Cast", Some(Float16)), ("Cast", Some(Float))]),
            (Float, &[("DynamicQuantizeLinear", None)]),
            (Float, &[("QLinearConv", None)]),
            (Float, &[("MatMulInteger", None)]),
        ] {
            assert!(is_coarse(&model(element, nodes)), "{element:?} {nodes:?}");
        }
    }

    #[test]
    fn a_model_in_float32_is_doubted_by_its_rounding_alone() {
        for model in [conv_net(None), linear_net()] {
            let path = Path::new("plain.onnx");
            let classifier = Classifier::from_bytes(path, model.to_bytes()).unwrap();
            assert!(of_own_graphs(&classifier) == ROUNDING);
        }
    }
}
