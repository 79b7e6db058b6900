//! What models take and give besides float pixels in N × C × H × W.

use half::f16;
use ndarray::{ArrayD, IxDyn, array};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

use crate::autodiff::testing::{environment, run, weights};
use crate::autodiff::{AutodiffError, Head};
use crate::autodiff::{
    Form, Interface, Layout, loss_gradient, vector_jacobian, vector_jacobian_at,
};
use crate::session::trace::Trace;

/// The gradient of the first logit at `image`.
pub(super) fn first_logit(
    model: &Model,
    image: &ArrayD<f32>,
    classes: usize,
) -> Option<ArrayD<f32>> {
    let environment = environment()?;
    let trace = Trace::measure_at(environment, model, Some(&image.shape()[1..])).unwrap();
    let gradient = vector_jacobian(model, &trace).unwrap();
    let mut cotangent = ArrayD::zeros(IxDyn(&[image.shape()[0], classes]));
    cotangent.index_axis_mut(ndarray::Axis(1), 0).fill(1.0);
    let inputs = [("x", image), ("cotangent", &cotangent)];
    run(&gradient, environment, &inputs, &[]).remove("input_gradient")
}

#[test]
fn half_precision_is_differentiated_in_float() {
    let mut builder = GraphBuilder::new("half", 13);
    let x = builder.input("x", DataType::Float16, &[Dim::free("N"), Dim::Fixed(2)]).unwrap();
    let w = array![[f16::from_f32(0.5), f16::ONE], [f16::from_f32(-2.0), f16::ONE]];
    let w = builder.array("w", &w);
    let y = builder.node("MatMul", &[&x, &w], vec![]);
    let y = builder.node("Tanh", &[&y], vec![]);
    builder.output(&y, DataType::Float16, &[Dim::free("N"), Dim::Fixed(2)]);
    let model = builder.finish().unwrap();
    assert_eq!(Interface::of(&model).unwrap().element, DataType::Float16);
    let image = array![[0.4f32, 0.1]].into_dyn();
    let Some(found) = first_logit(&model, &image, 2) else { return };
    assert_eq!(found, array![[0.5f32, -2.0]].into_dyn());
}

#[test]
fn bytes_and_channels_last() {
    let mut builder = GraphBuilder::new("bytes", 17);
    let dims = [Dim::free("N"), Dim::free("H"), Dim::free("W"), Dim::Fixed(3)];
    let x = builder.input("x", DataType::Uint8, &dims).unwrap();
    let to_float = vec![attribute::int("to", DataType::Float as i64)];
    let x = builder.node("Cast", &[&x], to_float);
    let scale = builder.scalar("scale", 1.0 / 255.0);
    let x = builder.node("Mul", &[&x, &scale], vec![]);
    let x = builder.node("Transpose", &[&x], vec![attribute::ints("perm", &[0, 3, 1, 2])]);
    let x = builder.node("GlobalAveragePool", &[&x], vec![]);
    let y = builder.node("Flatten", &[&x], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]);
    let model = builder.finish().unwrap();
    let interface = Interface::of(&model).unwrap();
    assert_eq!((interface.element, interface.layout), (DataType::Uint8, Layout::ChannelsLast));
    let image = ArrayD::from_elem(IxDyn(&[2, 2, 4, 3]), 100.0f32);
    let Some(found) = first_logit(&model, &image, 3) else { return };
    let expected = ArrayD::from_shape_fn(IxDyn(&[2, 2, 4, 3]), |at| {
        if at[3] == 0 { 1.0 / (255.0 * 8.0) } else { 0.0 }
    });
    let error = (&found - &expected).fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(error < 1e-9, "{error}");
}

#[test]
fn bytes_that_are_dequantised() {
    let mut builder = GraphBuilder::new("bytes", 17);
    let x = builder.input("x", DataType::Uint8, &[Dim::Fixed(1), Dim::Fixed(2)]).unwrap();
    let scale = builder.scalar("scale", 0.25);
    let zero = builder.array("zero", &ndarray::arr0(128u8));
    let x = builder.node("DequantizeLinear", &[&x, &scale, &zero], vec![]);
    let y = builder.node("Tanh", &[&x], vec![]);
    builder.output(&y, DataType::Float, &[Dim::Fixed(1), Dim::Fixed(2)]);
    let model = builder.finish().unwrap();
    let image = array![[128.0f32, 0.0]].into_dyn();
    let Some(found) = first_logit(&model, &image, 2) else { return };
    assert_eq!(found, array![[0.25f32, 0.0]].into_dyn());
}

#[test]
fn one_image_at_a_time_with_scales_that_are_computed() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("one", 17);
    let dims = [1, 1, 2, 2].map(Dim::Fixed);
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let [ones, twos] = [1.0, 2.0].map(|scale| builder.floats("scales", &[scale; 2]));
    let scales = builder.node("Concat", &[&ones, &twos], vec![attribute::int("axis", 0)]);
    let y = builder.node("Resize", &[&x, "", &scales], vec![]);
    let y = builder.node("Flatten", &[&y], vec![]);
    builder.output(&y, DataType::Float, &[1, 16].map(Dim::Fixed));
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient = vector_jacobian(&model, &trace).unwrap();
    let (image, ones) = (weights(&[1, 1, 2, 2]), ArrayD::ones(IxDyn(&[1, 16])));
    let found = run(&gradient, environment, &[("x", &image), ("cotangent", &ones)], &[]);
    assert!(found["input_gradient"].iter().all(|slope| *slope == 4.0));
}

#[test]
fn one_of_several_outputs() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("two", 17);
    let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]).unwrap();
    let w = builder.array("w", &weights(&[3, 2]));
    let main = builder.named_node("main", "MatMul", &[&x, &w], vec![]);
    let double = builder.node("Add", &[&main, &main], vec![]);
    let twin = builder.named_node("twin", "Softmax", &[&double], vec![]);
    for output in [&main, &twin] {
        builder.output(output, DataType::Float, &[Dim::free("N"), Dim::Fixed(2)]);
    }
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    assert!(matches!(vector_jacobian(&model, &trace), Err(AutodiffError::Interface { .. })));
    let missing = Interface::at(&model, Some("other")).unwrap_err().to_string();
    assert!(missing.contains("`main`, `twin`"), "{missing}");
    let cotangent = array![[1.0f32, 0.0]].into_dyn();
    let image = array![[0.1f32, 0.2, 0.3]].into_dyn();
    let found = ["main", "twin"].map(|output| {
        let interface = Interface::at(&model, Some(output)).unwrap();
        assert_eq!(interface.logits.before_softmax, output == "twin");
        let gradient = vector_jacobian_at(&model, &trace, &interface, Form::default()).unwrap();
        let inputs = [("x", &image), ("cotangent", &cotangent)];
        run(&gradient, environment, &inputs, &[]).remove("input_gradient").unwrap()
    });
    assert_eq!(&found[0] * 2.0, found[1]);
}

#[test]
fn stored_weights_that_are_also_inputs_and_weights_that_are_computed() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("zoo", 9);
    let dims = [Dim::Fixed(1), Dim::Fixed(2), Dim::Fixed(4), Dim::Fixed(4)];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let w = builder.array("w", &weights(&[8, 2, 3, 3]));
    let y = builder.node("Conv", &[&x, &w], vec![]);
    let shape = builder.integers("shape", &[3, 8, 2, 2]);
    let value = ndarray::arr1(&[0.5f32]);
    let value = attribute::tensor("value", rift_models::onnx::tensor::store("", &value));
    let ones = builder.node("ConstantOfShape", &[&shape], vec![value]);
    let y = builder.node("Conv", &[&y, &ones], vec![]);
    let y = builder.node("Flatten", &[&y], vec![]);
    let y = builder.node("Softmax", &[&y], vec![]);
    builder.output(&y, DataType::Float, &[Dim::Fixed(1), Dim::Fixed(3)]);
    let mut proto = builder.finish().unwrap().into_proto();
    let graph = proto.graph.as_mut().unwrap();
    let listed = rift_models::onnx::TensorType {
        element: DataType::Float,
        dims: Some([8, 2, 3, 3].map(Dim::Fixed).to_vec()),
    };
    graph.input.push(listed.declare("w"));
    proto.ir_version = Some(3);
    let model = Model::from_proto(proto).unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let image = weights(&[1, 2, 4, 4]);
    let found = run(&gradient, environment, &[("x", &image)], &[("labels", &[1])]);
    assert_eq!(found["logits"].shape(), [1, 3]);
    // All classes have the same weights, so no image is better for one of them.
    assert!(found["input_gradient"].iter().all(|g| g.abs() < 1e-6));
    assert!(found["logits"].iter().all(|logit| logit.abs() > 1e-3));
}
