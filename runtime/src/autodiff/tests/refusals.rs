//! What cannot be differentiated is said before anything is built.

use rift_models::onnx::{DataType, Dim, GraphBuilder, attribute};

use crate::autodiff::testing::environment;
use crate::autodiff::{AutodiffError, support, vector_jacobian};
use crate::session::trace::Trace;

#[test]
fn all_unsupported_operators_are_named_at_once() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("odd", 17);
    let dims = [Dim::free("N"), Dim::Fixed(1), Dim::Fixed(4), Dim::Fixed(4)];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let x = builder.named_node("first", "Atan", &[&x], vec![]);
    let scales = builder.floats("scales", &[1.0, 1.0, 1.5, 1.5]);
    let mode = vec![attribute::string("mode", "cubic")];
    let x = builder.named_node("second", "Resize", &[&x, "", &scales], mode);
    let x = builder.node("Relu", &[&x], vec![]);
    let x = builder.named_node("third", "Floor", &[&x], vec![]);
    // Beside the path: without a rule, but no gradient has to pass.
    let one = builder.scalar("one", 1.0);
    let beside = builder.named_node("beside", "Floor", &[&one], vec![]);
    let x = builder.node("Mul", &[&x, &beside], vec![]);
    let x = builder.node("Flatten", &[&x], vec![]);
    builder.output(&x, DataType::Float, &[Dim::free("N"), Dim::Fixed(36)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let error = support(&model, &trace).unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 operators between image and logits without a gradient: `first` (Atan): no rule; \
         `second` (Resize): attribute `mode`: expected nearest or linear, found cubic; \
         `third` (Floor): no rule"
    );
    let AutodiffError::Unsupported { operators } = vector_jacobian(&model, &trace).unwrap_err()
    else {
        panic!("{error}")
    };
    assert_eq!(operators.len(), 3);
}

#[test]
fn what_stands_behind_an_obstacle_is_named_too() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("serial", 17);
    let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]).unwrap();
    let to = |element: DataType| vec![attribute::int("to", element as i64)];
    let y = builder.named_node("first", "Cast", &[&x], to(DataType::Int32));
    let two = builder.array("two", &ndarray::arr0(2i32));
    let y = builder.node("Mul", &[&y, &two], vec![]);
    let y = builder.node("Cast", &[&y], to(DataType::Float));
    let y = builder.named_node("second", "Atan", &[&y], vec![]);
    let y = builder.node("Relu", &[&y], vec![]);
    // A step passes no gradient on either side of an obstacle.
    let sign = builder.node("Sign", &[&y], vec![]);
    let y = builder.named_node("third", "Cast", &[&y], to(DataType::Int64));
    let y = builder.node("Cast", &[&y], to(DataType::Float));
    let y = builder.node("Mul", &[&y, &sign], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let error = support(&model, &trace).unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 operators between image and logits without a gradient: `first` (Cast): its result has \
         no gradient; `second` (Atan): no rule; `third` (Cast): its result has no gradient"
    );
}

#[test]
fn what_is_only_known_in_training_is_training() {
    let Some(environment) = environment() else { return };
    for (opset, extra) in [(7, 4), (9, 4), (13, 4), (9, 0)] {
        let mut builder = GraphBuilder::new("trains", opset);
        let dims = [Dim::free("N"), Dim::Fixed(3)];
        let x = builder.input("x", DataType::Float, &dims).unwrap();
        let row = builder.floats("row", &[1.0, 1.0, 1.0]);
        let inputs = [&x, &row, &row, &row, &row].map(String::as_str);
        let made = builder.node_with_outputs("BatchNormalization", &inputs, vec![], extra + 1);
        builder.output(&made[0], DataType::Float, &dims);
        let model = builder.finish().unwrap();
        let trace = Trace::measure(environment, &model).unwrap();
        let found = support(&model, &trace).map_err(|error| error.to_string());
        match extra {
            0 => assert_eq!(found, Ok(())),
            _ => assert!(found.unwrap_err().ends_with("it is in training mode"), "{opset}"),
        }
    }
}

#[test]
fn what_rounds_has_no_gradient_and_says_so() {
    let Some(environment) = environment() else { return };
    let mut builder = GraphBuilder::new("rounds", 17);
    let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]).unwrap();
    let whole = vec![attribute::int("to", DataType::Int64 as i64)];
    let y = builder.named_node("round", "Cast", &[&x], whole);
    let float = vec![attribute::int("to", DataType::Float as i64)];
    let y = builder.node("Cast", &[&y], float);
    let y = builder.node("Add", &[&x, &y], vec![]);
    builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(3)]);
    let model = builder.finish().unwrap();
    let trace = Trace::measure(environment, &model).unwrap();
    let error = support(&model, &trace).unwrap_err().to_string();
    assert!(error.contains("`round` (Cast): its result has no gradient"), "{error}");
}

#[test]
fn old_operators_and_what_is_no_classifier() {
    let Some(environment) = environment() else { return };
    let model = |opset, dims: &[Dim]| {
        let mut builder = GraphBuilder::new("g", opset);
        let x = builder.input("x", DataType::Float, dims).unwrap();
        let y = builder.node("Neg", &[&x], vec![]);
        builder.output(&y, DataType::Float, dims);
        builder.finish().unwrap()
    };
    let two = [Dim::free("N"), Dim::Fixed(3)];
    let old = model(6, &two);
    assert!(Trace::measure(environment, &old).is_err());
    let trace = Trace::default();
    assert!(matches!(support(&old, &trace), Err(AutodiffError::Opset { found: 6, .. })));
    let lifted = model(7, &two);
    let trace = Trace::measure(environment, &lifted).unwrap();
    assert!(support(&lifted, &trace).is_ok());
    let three = [Dim::free("N"), Dim::Fixed(3), Dim::Fixed(3)];
    let dense = model(17, &three);
    let trace = Trace::measure(environment, &dense).unwrap();
    let error = vector_jacobian(&dense, &trace).unwrap_err().to_string();
    assert!(error.contains("expected logits float[N, classes], found"), "{error}");
}
