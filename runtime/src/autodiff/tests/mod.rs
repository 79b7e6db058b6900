//! Whole networks, both graphs.

mod bytes;
mod contributed;
mod endings;
mod heads;
mod interfaces;
mod old_operators;
mod refusals;

use ndarray::{Array1, Array2, ArrayD, Axis, IxDyn};
use ort::environment::Environment;
use rift_models::onnx::{DataType, Dim, GraphBuilder, GraphIndex, Model, attribute};

use super::testing::{differences, environment, run, weights};
use super::{Head, Interface, loss_gradient, vector_jacobian};
use crate::session::trace::Trace;

const IMAGE: [usize; 3] = [3, 8, 8];

fn conv(b: &mut GraphBuilder, x: &str, shape: [usize; 4], stride: i64) -> String {
    let scale = 2.0 / (shape[1] * shape[2] * shape[3]) as f32;
    let w = b.array("w", &(weights(&shape) * scale.sqrt()));
    let pad = (shape[2] / 2) as i64;
    let settings =
        vec![attribute::ints("strides", &[stride; 2]), attribute::ints("pads", &[pad; 4])];
    b.node("Conv", &[x, &w], settings)
}

fn batch_norm(b: &mut GraphBuilder, x: &str, channels: usize) -> String {
    let row = |offset: f32| -> Vec<f32> {
        (0..channels).map(|c| offset + 0.1 * (c % 3) as f32).collect()
    };
    let scale = b.floats("scale", &row(0.9));
    let shift = b.floats("shift", &row(0.1));
    let mean = b.floats("mean", &row(-0.1));
    let variance = b.floats("variance", &row(0.8));
    b.node("BatchNormalization", &[x, &scale, &shift, &mean, &variance], vec![])
}

/// Normalisation, a residual block of stride 2 with a shortcut, a second without, a linear layer.
fn residual_logits(b: &mut GraphBuilder) -> String {
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(8), Dim::Fixed(8)];
    let x = b.input("x", DataType::Float, &dims).unwrap();
    let channel = |values: [f32; 3]| ArrayD::from_shape_vec(IxDyn(&[1, 3, 1, 1]), values.to_vec());
    let mean = b.array("mean", &channel([0.49, 0.48, 0.45]).unwrap());
    let std = b.array("std", &channel([0.25, 0.24, 0.26]).unwrap());
    let x = b.node("Sub", &[&x, &mean], vec![]);
    let x = b.node("Div", &[&x, &std], vec![]);
    let x = conv(b, &x, [8, 3, 3, 3], 1);
    let x = batch_norm(b, &x, 8);
    let x = b.node("Relu", &[&x], vec![]);
    let y = conv(b, &x, [16, 8, 3, 3], 2);
    let y = b.node("Relu", &[&y], vec![]);
    let y = conv(b, &y, [16, 16, 3, 3], 1);
    let short = conv(b, &x, [16, 8, 1, 1], 2);
    let x = b.node("Add", &[&y, &short], vec![]);
    let x = b.node("Relu", &[&x], vec![]);
    let y = conv(b, &x, [16, 16, 3, 3], 1);
    let x = b.node("Add", &[&x, &y], vec![]);
    let x = b.node("Relu", &[&x], vec![]);
    let x = b.node("GlobalAveragePool", &[&x], vec![]);
    let x = b.node("Flatten", &[&x], vec![]);
    let w = b.array("fc", &weights(&[4, 16]));
    let bias = b.floats("bias", &[0.1, -0.1, 0.0, 0.2]);
    b.node("Gemm", &[&x, &w, &bias], vec![attribute::int("transB", 1)])
}

fn residual(finish: impl FnOnce(&mut GraphBuilder, &str) -> String) -> Model {
    let mut builder = GraphBuilder::new("residual", 17);
    let logits = residual_logits(&mut builder);
    let output = finish(&mut builder, &logits);
    builder.output(&output, DataType::Float, &[Dim::free("N"), Dim::Fixed(4)]);
    builder.finish().unwrap()
}

fn plain() -> Model {
    residual(|_, logits| logits.to_owned())
}

fn images(count: usize) -> ArrayD<f32> {
    weights(&[count, IMAGE[0], IMAGE[1], IMAGE[2]]) + 0.5
}

fn softmax(logits: &ndarray::ArrayView1<f32>) -> Array1<f32> {
    let max = logits.fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let exp = logits.mapv(|v| (v - max).exp());
    let sum = exp.sum();
    exp / sum
}

struct Gradient {
    logits: Array2<f32>,
    loss: Array1<f32>,
    input: ArrayD<f32>,
}

fn attack_step(
    model: &Model,
    environment: &Environment,
    images: &ArrayD<f32>,
    integers: &[(&str, &[i64])],
) -> Gradient {
    let mut outputs = run(model, environment, &[("x", images)], integers);
    Gradient {
        logits: outputs.remove("logits").unwrap().into_dimensionality().unwrap(),
        loss: outputs.remove("loss").unwrap().into_dimensionality().unwrap(),
        input: outputs.remove("input_gradient").unwrap(),
    }
}

#[test]
fn cross_entropy_of_a_residual_network() {
    let Some(environment) = environment() else { return };
    let model = plain();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient_model = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let labels = [0, 3, 1];
    let images = images(3);
    let step = attack_step(&gradient_model, environment, &images, &[("labels", &labels)]);
    let forward = run(&model, environment, &[("x", &images)], &[]);
    let logits = forward.values().next().unwrap();
    for (row, label) in labels.iter().enumerate() {
        let here = step.logits.row(row);
        let served = logits.index_axis(Axis(0), row);
        assert!(here.iter().zip(&served).all(|(a, b)| (a - b).abs() < 1e-5));
        let mut cotangent = softmax(&here);
        let label = usize::try_from(*label).unwrap();
        let loss = -cotangent[label].ln();
        assert!((step.loss[row] - loss).abs() < 1e-5, "{} {loss}", step.loss[row]);
        cotangent[label] -= 1.0;
        let image = images.index_axis(Axis(0), row).to_owned();
        let expected = differences(&model, environment, &image, &cotangent);
        let found = step.input.index_axis(Axis(0), row);
        let mean = expected.iter().map(|v| v.abs()).sum::<f64>() / expected.len() as f64;
        let error =
            found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).sum::<f64>()
                / expected.len() as f64;
        // A step of a pixel crosses a few of the network's kinks; a wrong rule is wrong by half.
        assert!(error < 0.03 * mean, "mean error {error} of {mean}");
    }
}

#[test]
fn the_two_graphs_agree() {
    let Some(environment) = environment() else { return };
    let model = plain();
    let trace = Trace::measure(environment, &model).unwrap();
    let inside = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let outside = vector_jacobian(&model, &trace).unwrap();
    let images = images(2);
    let step = attack_step(&inside, environment, &images, &[("labels", &[2, 0])]);
    let mut cotangent = Array2::zeros((2, 4));
    for (row, label) in [2, 0].into_iter().enumerate() {
        cotangent.row_mut(row).assign(&softmax(&step.logits.row(row)));
        cotangent[[row, label]] -= 1.0;
    }
    let inputs = [("x", &images), ("cotangent", &cotangent.into_dyn())];
    let outputs = run(&outside, environment, &inputs, &[]);
    let gradient = &outputs["input_gradient"];
    assert_eq!(gradient.shape(), images.shape());
    let largest = gradient.fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(largest > 1e-3);
    let error = (gradient - &step.input).fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(error < 1e-5 * largest.max(1.0), "{error}");
    assert_eq!(outputs["logits"], step.logits.into_dyn());
}

#[test]
fn an_image_gets_the_same_gradient_in_any_batch() {
    let Some(environment) = environment() else { return };
    let model = plain();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient_model = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let labels = [0, 1, 2, 3, 0];
    let images = images(5);
    let together = attack_step(&gradient_model, environment, &images, &[("labels", &labels)]);
    for row in 0..5 {
        let one = images.slice_axis(Axis(0), (row..=row).into()).to_owned();
        let step =
            attack_step(&gradient_model, environment, &one, &[("labels", &labels[row..=row])]);
        let difference =
            &step.input.index_axis(Axis(0), 0) - &together.input.index_axis(Axis(0), row);
        let largest = difference.fold(0.0f32, |m, v| m.max(v.abs()));
        assert_eq!(largest, 0.0, "image {row}");
    }
}

#[test]
fn a_final_softmax_is_left_out() {
    let Some(environment) = environment() else { return };
    for op in ["Softmax", "LogSoftmax"] {
        let model = residual(|b, logits| {
            let y = b.node(op, &[logits], vec![]);
            b.node("Identity", &[&y], vec![])
        });
        let interface = Interface::of(&model).unwrap();
        assert!(interface.logits.before_softmax);
        assert!(!Interface::of(&plain()).unwrap().logits.before_softmax);
        let trace = Trace::measure(environment, &model).unwrap();
        let gradient_model = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
        let images = images(1);
        let step = attack_step(&gradient_model, environment, &images, &[("labels", &[0])]);
        let served = run(&plain(), environment, &[("x", &images)], &[]);
        assert_eq!(served.values().next().unwrap(), &step.logits.into_dyn());
    }
}

#[test]
fn logits_at_one_position_are_flattened() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("pooled", 17);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(2), Dim::Fixed(2)];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let y = builder.node("GlobalAveragePool", &[&x], vec![]);
    let y = builder.node("Softmax", &[&y], vec![attribute::int("axis", 1)]);
    let dims = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(1), Dim::Fixed(1)];
    builder.output(&y, DataType::Float, &dims);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient_model = loss_gradient(&model, &trace, Head::Margin).unwrap();
    let image = ArrayD::from_shape_fn(IxDyn(&[1, 3, 2, 2]), |at| at[1] as f32);
    let step = attack_step(&gradient_model, environment, &image, &[("labels", &[0])]);
    assert_eq!(step.logits.into_raw_vec_and_offset().0, [0.0, 1.0, 2.0]);
    assert_eq!(step.loss[0], 2.0);
    let expected = [[-0.25; 4], [0.0; 4], [0.25; 4]].concat();
    assert_eq!(step.input.into_raw_vec_and_offset().0, expected);
}

#[test]
fn a_model_that_is_very_sure_still_has_a_gradient() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("sure", 17);
    let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]).unwrap();
    let scale = builder.scalar("scale", 40.0);
    let y = builder.node("Mul", &[&x, &scale], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient_model = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let image = ArrayD::from_shape_vec(IxDyn(&[1, 3]), vec![1.0, 0.0, 0.1]).unwrap();
    let step = attack_step(&gradient_model, environment, &image, &[("labels", &[0])]);
    // PyTorch's softmax − 1 gives exactly 0 here at the true class.
    let expected = -40.0 * (f64::exp(-40.0) + f64::exp(-36.0));
    let error = (f64::from(step.input[[0, 0]]) - expected).abs();
    assert!(error < 1e-5 * expected.abs(), "{} {expected}", step.input[[0, 0]]);
}

#[test]
fn names_of_the_model_give_way() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("taken", 17);
    let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]).unwrap();
    let labels = builder.floats("labels", &[1.0, 2.0, 3.0]);
    let loss = builder.named_node("loss", "Mul", &[&x, &labels], vec![]);
    let logits = builder.named_node("logits", "Relu", &[&loss], vec![]);
    let y = builder.node("Neg", &[&logits], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient_model = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let image = ArrayD::from_shape_vec(IxDyn(&[1, 3]), vec![1.0, 0.5, 0.1]).unwrap();
    let step = attack_step(&gradient_model, environment, &image, &[("labels", &[0])]);
    assert_eq!(step.logits.into_raw_vec_and_offset().0, [-1.0, -1.0, -0.3]);
    assert!(step.input.iter().all(|g| *g != 0.0));
}

#[test]
fn a_fixed_batch_stays_fixed() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("one", 17);
    let x = builder.input("x", DataType::Float, &[Dim::Fixed(1), Dim::Fixed(3)]).unwrap();
    let w = builder.array("w", &weights(&[3, 2]));
    let y = builder.node("MatMul", &[&x, &w], vec![]);
    builder.output(&y, DataType::Float, &[Dim::Fixed(1), Dim::Fixed(2)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    assert!(!trace.has_free_batch());
    let gradient_model = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let image = ArrayD::from_elem(IxDyn(&[1, 3]), 0.5f32);
    let step = attack_step(&gradient_model, environment, &image, &[("labels", &[0])]);
    assert_eq!(step.input.shape(), [1, 3]);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let Some(environment) = environment() else { return };
    let model = plain();
    let trace = Trace::measure(environment, &model).unwrap();
    let build = || loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    assert_eq!(build().to_bytes(), build().to_bytes());
    // The fast forms: convolutions at stride 1, transposed ones at stride 2 and for the image.
    let gradient_model = build();
    let index = GraphIndex::new(&gradient_model).unwrap();
    let count = |op: &str| index.nodes().iter().filter(|n| n.op_type() == op).count();
    assert_eq!((count("Conv"), count("ConvTranspose")), (5 + 2, 3));
}
