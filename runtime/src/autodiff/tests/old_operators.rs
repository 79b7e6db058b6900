//! Operators in the forms of old operator sets, and quantised ones.

use ndarray::{ArrayD, IxDyn, arr0};
use rift_models::onnx::proto::AttributeProto;
use rift_models::onnx::{DataType, Dim, GraphBuilder, attribute};

use crate::autodiff::testing::{Case, environment, run, weights};
use crate::autodiff::vector_jacobian;
use crate::session::trace::Trace;

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    attribute::ints(name, values)
}

#[test]
fn axes_and_bounds_as_attributes() {
    for opset in [7, 8, 9, 11, 12] {
        Case::new(&[1, 3, 1]).opset(opset).check("Squeeze, Unsqueeze", |b, x| {
            let y = b.node("Squeeze", &[x], vec![ints("axes", &[1, 3])]);
            b.node("Unsqueeze", &[&y], vec![ints("axes", &[1])])
        });
        Case::new(&[2, 3]).opset(opset).check("ReduceSum", |b, x| {
            let settings = vec![ints("axes", &[2]), attribute::int("keepdims", 0)];
            b.node("ReduceSum", &[x], settings)
        });
        Case::new(&[5, 2]).opset(opset).check("Split", |b, x| {
            let settings = vec![ints("split", &[2, 3]), attribute::int("axis", 1)];
            let parts = b.node_with_outputs("Split", &[x], settings, 2);
            b.node("Neg", &[&parts[1]], vec![])
        });
    }
    for (low, high) in [(Some(-0.31), None), (Some(-0.31), Some(0.375)), (None, None)] {
        Case::new(&[2, 4, 4]).opset(10).check("Clip", |b, x| {
            let low = low.map(|low| attribute::float("min", low));
            let high = high.map(|high| attribute::float("max", high));
            b.node("Clip", &[x], low.into_iter().chain(high).collect())
        });
    }
    Case::new(&[4, 5]).opset(9).check("Slice", |b, x| {
        let settings = vec![ints("starts", &[1, -3]), ints("ends", &[3, 1 << 40])];
        b.node("Slice", &[x], [settings, vec![ints("axes", &[1, 2])]].concat())
    });
}

#[test]
fn a_softmax_over_several_dimensions() {
    for op in ["Softmax", "LogSoftmax"] {
        Case::new(&[2, 3]).opset(11).check(op, |b, x| b.node(op, &[x], vec![]));
        for axis in [1, 2, -1] {
            Case::new(&[2, 3])
                .opset(11)
                .check(op, |b, x| b.node(op, &[x], vec![attribute::int("axis", axis)]));
        }
    }
}

#[test]
fn dropout_batch_normalisation_and_resize() {
    Case::new(&[2, 3])
        .opset(9)
        .check("Dropout", |b, x| b.node("Dropout", &[x], vec![attribute::float("ratio", 0.9)]));
    Case::new(&[2, 3]).opset(7).check("BatchNormalization", |b, x| {
        let row = b.floats("row", &[1.5, 0.5]);
        let settings = vec![attribute::int("spatial", 1), attribute::float("momentum", 0.5)];
        b.node("BatchNormalization", &[x, &row, &row, &row, &row], settings)
    });
    for (mode, height, width) in [
        ("nearest", 2.0, 3.0),
        ("nearest", 0.5, 0.7),
        ("nearest", 0.5, 2.0),
        ("nearest", 1.7, 0.6),
        ("linear", 0.6, 2.0),
    ] {
        for is_computed in [false, true] {
            Case::new(&[2, 4, 3]).opset(10).check("Resize", |b, x| {
                let mut scales = b.floats("scales", &[1.0, 1.0, height, width]);
                if is_computed {
                    let nothing = b.scalar("nothing", 0.0);
                    scales = b.node("Add", &[&scales, &nothing], vec![]);
                }
                b.node("Resize", &[x, &scales], vec![attribute::string("mode", mode)])
            });
        }
    }
}

#[test]
fn quantised_operators_through_their_meaning() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("quantised", 17);
    let dims = [Dim::free("N"), Dim::Fixed(2), Dim::Fixed(3), Dim::Fixed(3)];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let step = builder.scalar("step", 0.02);
    let zero = builder.array("zero", &arr0(3u8));
    let coarse = builder.scalar("coarse", 0.1);
    let whole = builder.array("whole", &weights(&[4, 2, 3, 3]).mapv(|w| (w * 200.0) as i8));
    let signed_zero = builder.array("signed_zero", &arr0(0i8));
    let bias = builder.array("bias", &ndarray::arr1(&[100i32, -50, 0, 20]));
    let q = builder.node("QuantizeLinear", &[&x, &step, &zero], vec![]);
    let weight_step = builder.scalar("weight_step", 0.01);
    let inputs = [&q, &step, &zero, &whole, &weight_step, &signed_zero, &coarse, &zero, &bias];
    let inputs = inputs.map(String::as_str);
    let y = builder.node("QLinearConv", &inputs, vec![ints("kernel_shape", &[3, 3])]);
    let y = builder.node("DequantizeLinear", &[&y, &coarse, &zero], vec![]);
    let y = builder.node("Flatten", &[&y], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(4)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient = vector_jacobian(&model, &trace).unwrap();
    let image = ArrayD::from_elem(IxDyn(&[1, 2, 3, 3]), 0.5f32);
    let first = ArrayD::from_shape_vec(IxDyn(&[1, 4]), vec![1.0, 0.0, 0.0, 0.0]).unwrap();
    let found = run(&gradient, environment, &[("x", &image), ("cotangent", &first)], &[]);
    let (found, logits) = (&found["input_gradient"], &found["logits"]);
    assert!(logits[[0, 0]] > 0.0, "clipped at {logits}");
    let expected = weights(&[4, 2, 3, 3]).mapv(|w| f32::from((w * 200.0) as i8) * 0.01);
    let expected = expected.index_axis(ndarray::Axis(0), 0);
    let error = found.iter().zip(&expected).fold(0.0f32, |m, (f, e)| m.max((f - e).abs()));
    assert!(error < 1e-5, "{error}");
}
