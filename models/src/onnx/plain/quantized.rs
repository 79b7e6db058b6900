//! Operators on whole numbers, as their meaning in `float` between `DequantizeLinear` and
//! `QuantizeLinear`.

use super::form::take;
use super::rewrite::Rewrite;
use crate::onnx::proto::{AttributeProto, ModelProto, NodeProto};
use crate::onnx::{Attributes, DataType, Model, OnnxError, attribute};

/// The domain of ONNX Runtime's own operators.
const CONTRIBUTED: &str = "com.microsoft";

/// What a node means in `float`, and the slot from which on it says how its result is quantised.
#[derive(Clone, Copy)]
enum Meaning {
    /// `x, s, z, w, s, z`, the result, and a bias in units of the product of the two scales.
    Conv,
    /// `x, s, z, w, s, z`, the result.
    MatMul,
    /// `x, s, z, w, s, z`, a bias as that of a convolution, the result unless that is `float`.
    Gemm,
    /// `x, s, z`, the result.
    One(&'static str),
    /// `x, s, z, y, s, z`, the result.
    Two(&'static str),
    /// A condition, `x, s, z, y, s, z`, the result.
    Where,
    /// The result, then `x, s, z` of each.
    Concat,
}

impl Meaning {
    /// That of `node`, if it has one that can be written out.
    fn of(node: &NodeProto) -> Option<Self> {
        let meaning = match (node.op_type(), node.domain()) {
            ("QLinearConv", "" | "ai.onnx" | CONTRIBUTED) => Self::Conv,
            ("QLinearMatMul", "" | "ai.onnx") => Self::MatMul,
            ("QGemm", CONTRIBUTED) => Self::Gemm,
            ("QLinearAdd", CONTRIBUTED) => Self::Two("Add"),
            ("QLinearMul", CONTRIBUTED) => Self::Two("Mul"),
            ("QLinearAveragePool", CONTRIBUTED) => Self::One("AveragePool"),
            ("QLinearGlobalAveragePool", CONTRIBUTED) => Self::One("GlobalAveragePool"),
            ("QLinearLeakyRelu", CONTRIBUTED) => Self::One("LeakyRelu"),
            ("QLinearSigmoid", CONTRIBUTED) => Self::One("Sigmoid"),
            ("QLinearSoftmax", CONTRIBUTED) => Self::One("Softmax"),
            ("QLinearWhere", CONTRIBUTED) => Self::Where,
            ("QLinearConcat", CONTRIBUTED) => Self::Concat,
            _ => return None,
        };
        let is_there = |slot: usize| node.input.get(slot).is_some_and(|value| !value.is_empty());
        // Only the zero point says of what type the result is.
        let slot = meaning.result();
        let is_typed = is_there(slot + 1) || (matches!(meaning, Self::Gemm) && !is_there(slot));
        let is_last = matches!(Attributes::of(node).int("channels_last"), Ok(Some(1..)));
        (is_typed && !is_last).then_some(meaning)
    }

    /// The slot of the result's scale, before that of its zero point.
    fn result(self) -> usize {
        match self {
            Self::Concat => 0,
            Self::One(_) => 3,
            Self::Conv | Self::MatMul | Self::Two(_) => 6,
            Self::Gemm | Self::Where => 7,
        }
    }
}

/// Whether a model has such operators.
pub(super) fn is_needed(model: &Model) -> bool {
    model.graph().node.iter().any(|node| Meaning::of(node).is_some())
}

/// Writes them out, in a model of [`PLAIN_OPSET`](super::PLAIN_OPSET) or later.
pub(super) fn write_out(proto: &mut ModelProto) -> Result<(), OnnxError> {
    let Some(graph) = &mut proto.graph else { return Ok(()) };
    Rewrite::each(graph, |rewrite, node| {
        match Meaning::of(&node) {
            Some(meaning) => write_out_node(rewrite, node, meaning),
            None => rewrite.push(node),
        }
        Ok(())
    })
}

fn write_out_node(rewrite: &mut Rewrite<'_>, mut node: NodeProto, meaning: Meaning) {
    take(&mut node, "channels_last");
    let result = match meaning {
        Meaning::Conv | Meaning::Gemm => product(rewrite, &node, meaning),
        Meaning::MatMul => {
            let inputs = [dequantized(rewrite, &node, 0), weight(rewrite, &node, -1)];
            applied(rewrite, (&node, "MatMul"), &inputs, vec![])
        }
        Meaning::One("Softmax") => softmax(rewrite, &mut node),
        Meaning::One(op) => {
            let inputs = [dequantized(rewrite, &node, 0)];
            applied(rewrite, (&node, op), &inputs, node.attribute.clone())
        }
        Meaning::Two(op) => {
            let inputs = [0, 3].map(|slot| dequantized(rewrite, &node, slot));
            applied(rewrite, (&node, op), &inputs, vec![])
        }
        Meaning::Where => {
            let [x, y] = [1, 4].map(|slot| dequantized(rewrite, &node, slot));
            applied(rewrite, (&node, "Where"), &[node.input[0].clone(), x, y], vec![])
        }
        Meaning::Concat => {
            let slots = (2..node.input.len()).step_by(3);
            let inputs: Vec<_> = slots.map(|s| dequantized(rewrite, &node, s)).collect();
            applied(rewrite, (&node, "Concat"), &inputs, node.attribute.clone())
        }
    };
    let slot = meaning.result();
    let is_float = input(&node, slot).is_empty();
    let how = if is_float { vec![] } else { [slot, slot + 1].map(|s| input(&node, s)).to_vec() };
    rewrite.push(NodeProto {
        op_type: Some(if is_float { "Identity" } else { "QuantizeLinear" }.to_owned()),
        domain: None,
        input: [vec![result], how].concat(),
        attribute: Vec::new(),
        ..node
    });
}

fn input(node: &NodeProto, slot: usize) -> String {
    node.input.get(slot).cloned().unwrap_or_default()
}

fn applied(
    rewrite: &mut Rewrite<'_>,
    (node, op): (&NodeProto, &str),
    inputs: &[String],
    attributes: Vec<AttributeProto>,
) -> String {
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    rewrite.before(node, op, &inputs, attributes)
}

/// The numbers from `slot` on: themselves, their scale and zero point.
fn dequantized(rewrite: &mut Rewrite<'_>, node: &NodeProto, slot: usize) -> String {
    let inputs = [slot, slot + 1, slot + 2].map(|slot| input(node, slot));
    applied(rewrite, (node, "DequantizeLinear"), &inputs, vec![])
}

/// A weight, with a scale an output channel along `axis`.
fn weight(rewrite: &mut Rewrite<'_>, node: &NodeProto, axis: i64) -> String {
    let inputs = [3, 4, 5].map(|slot| input(node, slot));
    applied(rewrite, (node, "DequantizeLinear"), &inputs, vec![attribute::int("axis", axis)])
}

/// A convolution, or a product of matrices with a bias.
fn product(rewrite: &mut Rewrite<'_>, node: &NodeProto, meaning: Meaning) -> String {
    let attributes = Attributes::of(node);
    let is_convolution = matches!(meaning, Meaning::Conv);
    // The output channels are a convolution's first dimension and, unless it is turned, a matrix's
    // last.
    let is_turned = matches!(attributes.int("transB"), Ok(Some(1..)));
    let axis = i64::from(!(is_convolution || is_turned));
    let mut inputs = vec![dequantized(rewrite, node, 0), weight(rewrite, node, axis)];
    let bias = input(node, if is_convolution { 8 } else { 6 });
    if !bias.is_empty() {
        let mut unit = rewrite.before(node, "Mul", &[&input(node, 1), &input(node, 4)], vec![]);
        if let Ok(Some(factor)) = attributes.float("alpha") {
            let factor = rewrite.scalar("alpha", factor);
            unit = rewrite.before(node, "Mul", &[&unit, &factor], vec![]);
        }
        let to_float = vec![attribute::int("to", DataType::Float as i64)];
        let bias = rewrite.before(node, "Cast", &[&bias], to_float);
        inputs.push(rewrite.before(node, "Mul", &[&bias, &unit], vec![]));
    }
    let op = if is_convolution { "Conv" } else { "Gemm" };
    applied(rewrite, (node, op), &inputs, node.attribute.clone())
}

/// A softmax in the form of the operator set that the node names; before 13 the dimensions from
/// `axis` on were one.
fn softmax(rewrite: &mut Rewrite<'_>, node: &mut NodeProto) -> String {
    let form = take(node, "opset").map_or(1, |a| a.i());
    let axis = take(node, "axis").map_or(-1, |a| a.i());
    let along = |axis: i64| vec![attribute::int("axis", axis)];
    let x = dequantized(rewrite, node, 0);
    if form >= 13 || axis == -1 {
        return rewrite.before(node, "Softmax", &[&x], along(axis));
    }
    let flat = rewrite.before(node, "Flatten", &[&x], along(axis));
    let result = rewrite.before(node, "Softmax", &[&flat], along(-1));
    let shape = rewrite.before(node, "Shape", &[&x], vec![]);
    rewrite.before(node, "Reshape", &[&result, &shape], vec![])
}
