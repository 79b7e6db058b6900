//! Whole numbers between the image and the logits.

use ndarray::{ArrayD, IxDyn, arr0};
use rift_models::onnx::proto::TensorProto;
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

use super::interfaces::first_logit;
use crate::autodiff::testing::{Case, environment, weights};
use crate::autodiff::{AutodiffError, support};
use crate::session::trace::Trace;

const STEP: f32 = 0.125;

type Move = fn(&mut GraphBuilder, &str) -> String;

fn turned(b: &mut GraphBuilder, x: &str) -> String {
    b.node("Transpose", &[x], vec![attribute::ints("perm", &[0, 2, 3, 1])])
}

fn reshaped(b: &mut GraphBuilder, x: &str) -> String {
    let shape = b.integers("shape", &[0, -1, 2]);
    b.node("Reshape", &[x, &shape], vec![])
}

fn lengthened(b: &mut GraphBuilder, x: &str) -> String {
    let axes = b.integers("axes", &[1]);
    let y = b.node("Unsqueeze", &[x, &axes], vec![]);
    b.node("Squeeze", &[&y, &axes], vec![])
}

fn joined(b: &mut GraphBuilder, x: &str) -> String {
    let axis = || vec![attribute::int("axis", 1)];
    let parts = b.node_with_outputs("Split", &[x], axis(), 2);
    b.node("Concat", &[&parts[1], x], axis())
}

fn cut(b: &mut GraphBuilder, x: &str) -> String {
    let [pads, start, end, axis, place] =
        [&[0, 0, 1, 0, 0, 0, 0, 1][..], &[1], &[4], &[2], &[2, 0, 0]]
            .map(|row| b.integers("row", row));
    let y = b.node("Pad", &[x, &pads], vec![]);
    let y = b.node("Slice", &[&y, &start, &end, &axis], vec![]);
    b.node("Gather", &[&y, &place], vec![attribute::int("axis", 3)])
}

fn pooled(b: &mut GraphBuilder, x: &str) -> String {
    let settings = vec![attribute::ints("kernel_shape", &[3, 2])];
    b.node("MaxPool", &[x], settings)
}

fn grown(b: &mut GraphBuilder, x: &str) -> String {
    let scales = b.floats("scales", &[1.0, 1.0, 2.0, 1.0]);
    b.node("Resize", &[x, "", &scales], vec![])
}

const MOVES: [(&str, Move); 9] = [
    ("Identity", |b, x| b.node("Identity", &[x], vec![])),
    ("Flatten", |b, x| b.node("Flatten", &[x], vec![])),
    ("Transpose", turned),
    ("Reshape", reshaped),
    ("Unsqueeze, Squeeze", lengthened),
    ("Split, Concat", joined),
    ("Pad, Slice, Gather", cut),
    ("MaxPool", pooled),
    ("Resize", grown),
];

/// Numbers that bytes hold, in no order and no two alike.
fn levels(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 37 % 101) as f32 - 40.0) * STEP).collect()
}

/// Numbers that are quantised, moved and read again, times weights.
fn through_bytes(b: &mut GraphBuilder, x: &str, how: Move) -> String {
    let step = b.scalar("step", STEP);
    let zero = b.array("zero", &arr0(-3i8));
    let q = b.node("QuantizeLinear", &[x, &step, &zero], vec![]);
    let q = how(b, &q);
    b.node("DequantizeLinear", &[&q, &step, &zero], vec![])
}

fn weighted(b: &mut GraphBuilder, y: &str) -> String {
    let y = b.node("Flatten", &[y], vec![]);
    let y = b.node("Mul", &[&y, &y], vec![]);
    let axes = b.integers("axes", &[1]);
    b.node("ReduceSum", &[&y, &axes], vec![])
}

#[test]
fn what_moves_numbers_moves_bytes() {
    let values = levels(2 * 4 * 4);
    for (name, how) in MOVES {
        let case = Case::new(&[2, 4, 4]);
        let found = case.gradient_at(&values, |b, x| {
            let y = through_bytes(b, x, how);
            weighted(b, &y)
        });
        let Some(found) = found else { return };
        let expected = case.gradient_at(&values, |b, x| {
            let y = how(b, x);
            weighted(b, &y)
        });
        assert_eq!(found, expected.unwrap(), "{name}");
        assert!(found.iter().any(|slope| slope.abs() > STEP), "{name}: {found:?}");
    }
}

#[test]
fn numbers_of_16_bits() {
    for (element, zero) in [(DataType::Int16, -7), (DataType::Uint16, 32_768)] {
        let found = Case::new(&[3]).opset(21).gradient_at(&[0.5, -2.0, 1e6], |b, x| {
            let step = b.scalar("step", STEP);
            let zero = b.constant(TensorProto {
                name: Some("zero".to_owned()),
                data_type: Some(element as i32),
                int32_data: vec![zero],
                ..TensorProto::default()
            });
            let q = b.node("QuantizeLinear", &[x, &step, &zero], vec![]);
            b.node("DequantizeLinear", &[&q, &step, &zero], vec![])
        });
        assert!(found.is_none_or(|slopes| slopes == [1.0, 1.0, 0.0]), "{element:?}");
    }
}

/// A model of byte images, 2 × 3 × 2 with the channels last, whose logits are the three channels of
/// what `front` makes of them, summed over the positions.
fn of_byte_images(front: impl FnOnce(&mut GraphBuilder, &str) -> String) -> Model {
    let mut builder = GraphBuilder::new("bytes", 17);
    let dims = [1, 2, 2, 3].map(Dim::Fixed);
    let x = builder.input("x", DataType::Uint8, &dims).unwrap();
    let y = front(&mut builder, &x);
    let axes = builder.integers("axes", &[2, 3]);
    let settings = vec![attribute::int("keepdims", 0)];
    let y = builder.node("ReduceSum", &[&y, &axes], settings);
    builder.output(&y, DataType::Float, &[1, 3].map(Dim::Fixed));
    builder.finish().unwrap()
}

fn planes(b: &mut GraphBuilder, x: &str) -> String {
    b.node("Transpose", &[x], vec![attribute::ints("perm", &[0, 3, 1, 2])])
}

fn read(b: &mut GraphBuilder, x: &str) -> String {
    let step = b.scalar("step", STEP);
    let zero = b.array("zero", &arr0(128u8));
    b.node("DequantizeLinear", &[x, &step, &zero], vec![])
}

fn convert(b: &mut GraphBuilder, x: &str, to: DataType) -> String {
    b.node("Cast", &[x], vec![attribute::int("to", to as i64)])
}

const FRONTS: [(&str, f32, Move); 7] = [
    ("Transpose, DequantizeLinear", STEP, |b, x| {
        let y = planes(b, x);
        read(b, &y)
    }),
    ("Identity, DequantizeLinear", STEP, |b, x| {
        let y = b.node("Identity", &[x], vec![]);
        let y = read(b, &y);
        planes(b, &y)
    }),
    ("a scale a channel", STEP, |b, x| {
        let steps = b.floats("steps", &[STEP, 1.0, 2.0]);
        let zeros = b.array("zeros", &ndarray::arr1(&[1u8, 2, 3]));
        let axis = vec![attribute::int("axis", -1)];
        let y = b.node("DequantizeLinear", &[x, &steps, &zeros], axis);
        planes(b, &y)
    }),
    ("Transpose, Cast", 1.0, |b, x| {
        let y = planes(b, x);
        convert(b, &y, DataType::Float)
    }),
    ("Cast to more bits, Cast", 1.0, |b, x| {
        let y = convert(b, x, DataType::Int32);
        let y = planes(b, &y);
        convert(b, &y, DataType::Float)
    }),
    ("Pad, Cast", 1.0, |b, x| {
        let pads = b.integers("pads", &[0, 1, 0, 0, 0, 0, 1, 0]);
        let grey = b.array("grey", &arr0(128u8));
        let y = b.node("Pad", &[x, &pads, &grey], vec![]);
        let y = planes(b, &y);
        convert(b, &y, DataType::Float)
    }),
    ("Transpose, QLinearConv", STEP * 0.5, |b, x| {
        let y = planes(b, x);
        let [step, half, coarse] = [STEP, 0.5, 4.0].map(|scale| b.scalar("scale", scale));
        let zero = b.array("zero", &arr0(128u8));
        let weight = ArrayD::from_shape_fn(IxDyn(&[3, 3, 1, 1]), |at| u8::from(at[0] == at[1]));
        let weight = b.array("weight", &weight.mapv(|w| 128 + w));
        let inputs = [&y, &step, &zero, &weight, &half, &zero, &coarse, &zero];
        let y = b.node("QLinearConv", &inputs.map(String::as_str), vec![]);
        b.node("DequantizeLinear", &[&y, &coarse, &zero], vec![])
    }),
];

#[test]
fn images_of_bytes_that_are_not_converted_at_once() {
    let image = (weights(&[1, 2, 2, 3]) + 0.5).mapv(|value| (value * 255.0).round());
    for (name, slope, front) in FRONTS {
        let Some(found) = first_logit(&of_byte_images(front), &image, 3) else { return };
        let expected =
            ArrayD::from_shape_fn(IxDyn(&[1, 2, 2, 3]), |at| if at[3] == 0 { slope } else { 0.0 });
        let error = (&found - &expected).fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(error < 1e-6, "{name}: {found}");
    }
}

#[test]
fn what_calculates_with_bytes_is_named() {
    let Some(environment) = environment() else { return };
    let model = of_byte_images(|b, x| {
        let y = convert(b, x, DataType::Int32);
        let y = planes(b, &y);
        let two = b.array("two", &arr0(2i32));
        let y = b.named_node("twice", "Mul", &[&y, &two], vec![]);
        convert(b, &y, DataType::Float)
    });
    let trace = Trace::measure(environment, &model).unwrap();
    let error = support(&model, &trace).unwrap_err();
    assert!(matches!(&error, AutodiffError::Unsupported { operators } if operators.len() == 1));
    assert!(error.to_string().contains("`twice` (Mul): its result has no gradient"), "{error}");
}
