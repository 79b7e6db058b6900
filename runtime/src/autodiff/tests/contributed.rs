//! Quantised operators of ONNX Runtime's own, as its tools write them into files of int8.

use ndarray::{Array1, Array2, ArrayD, Axis, arr0};
use ort::environment::Environment;
use rift_models::onnx::proto::{AttributeProto, OperatorSetIdProto};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

use crate::autodiff::testing::{environment, run, weights};
use crate::autodiff::vector_jacobian;
use crate::session::trace::Trace;

const IMAGE: [usize; 3] = [2, 4, 4];
/// The steps before and after an operator, and what stands for zero there.
const BEFORE: (f32, u8) = (0.02, 128);
const AFTER: (f32, u8) = (0.05, 100);
/// The same of a second operand.
const OTHER: (f32, u8) = (0.01, 90);

fn scale(b: &mut GraphBuilder, (step, zero): (f32, u8)) -> [String; 2] {
    [b.scalar("step", step), b.array("zero", &arr0(zero))]
}

fn levels(shape: &[usize]) -> ArrayD<u8> {
    weights(shape).mapv(|w| (w * 100.0 + 90.0) as u8)
}

fn meant(levels: &ArrayD<u8>) -> ArrayD<f32> {
    levels.mapv(|level| (f32::from(level) - f32::from(OTHER.1)) * OTHER.0)
}

/// A model of what `append` makes of the image; contributed operators get their domain.
fn model(append: impl FnOnce(&mut GraphBuilder, &str) -> String) -> Model {
    let mut builder = GraphBuilder::new("contributed", 17);
    let dims: Vec<Dim> =
        std::iter::once(Dim::free("N")).chain(IMAGE.iter().map(|d| Dim::Fixed(*d))).collect();
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let y = append(&mut builder, &x);
    let y = builder.node("Flatten", &[&y], vec![]);
    // A softmax at the end would be left out.
    let y = builder.node("Neg", &[&y], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Free(None)]);
    let mut proto = builder.finish().unwrap().into_proto();
    for node in &mut proto.graph.as_mut().unwrap().node {
        if node.op_type().starts_with("QLinear") || node.op_type() == "QGemm" {
            node.domain = Some("com.microsoft".to_owned());
        }
    }
    let domain = Some("com.microsoft".to_owned());
    proto.opset_import.push(OperatorSetIdProto { domain, version: Some(1) });
    Model::from_proto(proto).unwrap()
}

/// What `write` makes of the quantised image, its scale and zero point and of those of the result, as
/// `float`.
fn quantised(
    b: &mut GraphBuilder,
    x: &str,
    write: impl FnOnce(&mut GraphBuilder, [&str; 3], [&str; 2]) -> String,
) -> String {
    let (before, after) = (scale(b, BEFORE), scale(b, AFTER));
    let q = b.node("QuantizeLinear", &[x, &before[0], &before[1]], vec![]);
    let y = write(b, [&q, &before[0], &before[1]], [&after[0], &after[1]]);
    b.node("DequantizeLinear", &[&y, &after[0], &after[1]], vec![])
}

/// The logits and the gradient of their weighted sum.
fn differentiated(model: &Model, environment: &Environment) -> (ArrayD<f32>, ArrayD<f32>) {
    let trace = Trace::measure(environment, model).unwrap();
    let graph = vector_jacobian(model, &trace).unwrap();
    let classes = trace.get(model.graph().output[0].name()).unwrap().shape[1].fixed().unwrap();
    let cotangent = weights(&[1, classes]);
    let mut found = run(&graph, environment, &[("x", &image()), ("cotangent", &cotangent)], &[]);
    (found.remove("logits").unwrap(), found.remove("input_gradient").unwrap())
}

fn image() -> ArrayD<f32> {
    // No number is near 0, where `LeakyRelu` turns.
    weights(&[1, 2, 4, 4]).mapv(|w| w * 2.0 + 0.1f32.copysign(w))
}

/// Holds a quantised model against its float twin, and against itself as ONNX Runtime runs it.
fn check(name: &str, environment: &Environment, (int8, float): (&Model, &Model)) {
    let (logits, found) = differentiated(int8, environment);
    let (_, expected) = differentiated(float, environment);
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let far = found.iter().zip(&expected).fold(0.0f32, |m, (f, e)| m.max((f - e).abs()));
    assert!(largest > 0.0 && far <= 0.03 * largest, "{name}: {far} of {largest}");
    let served = run(int8, environment, &[("x", &image())], &[]);
    for (a, b) in logits.iter().zip(served.values().next().unwrap()) {
        assert!((a - b).abs() < AFTER.0 * 1.01, "{name}: {a}, served {b}");
    }
}

#[test]
fn of_one_operand() {
    let Some(environment) = environment() else { return };
    let (int, ints) = (attribute::int, attribute::ints);
    let pool = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 0, 0])];
    let cases: [(&str, Vec<AttributeProto>, Vec<AttributeProto>); 6] = [
        ("LeakyRelu", vec![attribute::float("alpha", 0.2)], vec![]),
        ("Sigmoid", vec![], vec![]),
        ("GlobalAveragePool", vec![], vec![int("channels_last", 0)]),
        ("AveragePool", pool, vec![]),
        ("Softmax", vec![int("axis", 2)], vec![int("opset", 13)]),
        ("Softmax", vec![int("axis", -1)], vec![int("opset", 11)]),
    ];
    for (op, settings, own) in cases {
        let int8 = model(|b, x| {
            quantised(b, x, |b, x, result| {
                let settings = [settings.clone(), own].concat();
                b.node(&format!("QLinear{op}"), &[&x[..], &result].concat(), settings)
            })
        });
        let float = model(|b, x| b.node(op, &[x], settings.clone()));
        check(op, environment, (&int8, &float));
    }
}

#[test]
fn a_softmax_over_what_was_one_dimension() {
    let Some(environment) = environment() else { return };
    let int8 = model(|b, x| {
        quantised(b, x, |b, x, result| {
            let settings = vec![attribute::int("axis", 1), attribute::int("opset", 11)];
            b.node("QLinearSoftmax", &[&x[..], &result].concat(), settings)
        })
    });
    let float = model(|b, x| {
        let flat = b.node("Flatten", &[x], vec![]);
        b.node("Softmax", &[&flat], vec![])
    });
    check("QLinearSoftmax", environment, (&int8, &float));
}

#[test]
fn of_two_operands() {
    let Some(environment) = environment() else { return };
    for op in ["Add", "Mul", "Where", "Concat"] {
        let other = levels(&[1, 2, 4, 4]);
        let which = weights(&[1, 2, 4, 4]).mapv(|w| w > -0.2);
        let axis = || vec![attribute::int("axis", 1)];
        let int8 = model(|b, x| {
            quantised(b, x, |b, x, result| {
                let y = b.array("other", &other);
                let how = scale(b, OTHER);
                let y = [y.as_str(), &how[0], &how[1]];
                let which = b.array("which", &which);
                let name = format!("QLinear{op}");
                match op {
                    "Where" => {
                        b.node(&name, &[&[which.as_str()], &x[..], &y, &result].concat(), vec![])
                    }
                    "Concat" => b.node(&name, &[&result[..], &x, &x].concat(), axis()),
                    _ => b.node(&name, &[&x[..], &y, &result].concat(), vec![]),
                }
            })
        });
        let float = model(|b, x| {
            let y = b.array("other", &meant(&other));
            let which = b.array("which", &which);
            match op {
                "Where" => b.node(op, &[&which, x, &y], vec![]),
                "Concat" => b.node(op, &[x, x], axis()),
                _ => b.node(op, &[x, &y], vec![]),
            }
        });
        check(op, environment, (&int8, &float));
    }
}

#[test]
fn a_matrix_with_a_bias() {
    let Some(environment) = environment() else { return };
    for is_turned in [0, 1] {
        let shape = if is_turned == 1 { [5, 32] } else { [32, 5] };
        let whole = weights(&shape).mapv(|w| (w * 200.0) as i8);
        let steps: Array1<f32> = (0..5).map(|column| 0.004 + 0.001 * column as f32).collect();
        let settings = || vec![attribute::int("transB", is_turned), attribute::float("alpha", 0.5)];
        let int8 = model(|b, x| {
            quantised(b, x, |b, [x, step, zero], [scale, middle]| {
                let x = b.node("Flatten", &[x], vec![]);
                let w = b.array("w", &whole);
                let how = [b.array("steps", &steps), b.array("zeros", &Array1::<i8>::zeros(5))];
                let bias = b.array("bias", &Array1::from(vec![300i32, -200, 0, 100, 50]));
                let w = [w.as_str(), &how[0], &how[1], &bias];
                b.node("QGemm", &[&[&x, step, zero], &w[..], &[scale, middle]].concat(), settings())
            })
        });
        let float = model(|b, x| {
            let x = b.node("Flatten", &[x], vec![]);
            let steps = steps.view().insert_axis(Axis(is_turned as usize));
            let w: Array2<f32> = whole.mapv(f32::from).into_dimensionality().unwrap();
            let w = b.array("w", &(w * steps));
            b.node("Gemm", &[&x, &w], settings())
        });
        check("QGemm", environment, (&int8, &float));
    }
}
