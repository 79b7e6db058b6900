//! What models do behind their logits.

use ndarray::ArrayD;
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

use super::{attack_step, images, plain, residual};
use crate::autodiff::testing::{environment, run, weights};
use crate::autodiff::{Head, Interface, loss_gradient, support};
use crate::session::trace::Trace;

/// Logits that leave no doubt, so that nothing comes back through their softmax.
fn sure(builder: &mut GraphBuilder) -> String {
    let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(6)]).unwrap();
    let w = builder.array("w", &(weights(&[6, 4]) * 1e4));
    builder.node("MatMul", &[&x, &w], vec![])
}

fn ending(finish: impl FnOnce(&mut GraphBuilder, &str) -> (String, DataType)) -> Model {
    let mut builder = GraphBuilder::new("sure", 17);
    let logits = sure(&mut builder);
    let (output, element) = finish(&mut builder, &logits);
    builder.output(&output, element, &[Dim::free("N"), Dim::Fixed(4)]);
    builder.finish().unwrap()
}

type Tail = fn(&mut GraphBuilder, &str) -> (String, DataType);

fn cast(builder: &mut GraphBuilder, value: &str, to: DataType) -> (String, DataType) {
    (builder.node("Cast", &[value], vec![attribute::int("to", to as i64)]), to)
}

const TAILS: [(&str, Tail); 8] = [
    ("Cast", |b, y| cast(b, y, DataType::Float)),
    ("Cast to half", |b, y| cast(b, y, DataType::Float16)),
    ("Reshape", |b, y| {
        let shape = b.integers("shape", &[-1, 4]);
        (b.node("Reshape", &[y, &shape], vec![]), DataType::Float)
    }),
    ("Flatten", |b, y| (b.node("Flatten", &[y], vec![]), DataType::Float)),
    ("Unsqueeze, Squeeze", |b, y| {
        let axes = b.integers("axes", &[2]);
        let y = b.node("Unsqueeze", &[y, &axes], vec![]);
        (b.node("Squeeze", &[&y, &axes], vec![]), DataType::Float)
    }),
    ("Dropout", |b, y| {
        let off = b.array("off", &ndarray::arr0(false));
        (b.node("Dropout", &[y, "", &off], vec![]), DataType::Float)
    }),
    ("Clip", |b, y| {
        let (low, high) = (b.scalar("low", 1e-7), b.scalar("high", 1.0));
        (b.node("Clip", &[y, &low, &high], vec![]), DataType::Float)
    }),
    ("Log", |b, y| (b.node("Log", &[y], vec![]), DataType::Float)),
];

#[test]
fn a_softmax_is_left_out_whatever_keeps_its_order_behind_it() {
    let Some(environment) = environment() else { return };
    let image = weights(&[2, 6]);
    for (name, tail) in TAILS {
        let model = ending(|b, logits| {
            let y = b.node("Softmax", &[logits], vec![]);
            tail(b, &y)
        });
        assert!(Interface::of(&model).unwrap().logits.before_softmax, "{name}");
        let trace = Trace::measure(environment, &model).unwrap();
        support(&model, &trace).unwrap();
        let gradient = loss_gradient(&model, &trace, Head::Margin).unwrap();
        let step = attack_step(&gradient, environment, &image, &[("labels", &[0, 0])]);
        assert!(step.logits.iter().any(|logit| *logit > 100.0), "{name}: {}", step.logits);
        assert!(step.input.iter().all(|slope| slope.abs() > 1.0), "{name}: {}", step.input);
    }
}

#[test]
fn without_a_softmax_the_output_is_taken_as_it_is() {
    for (name, tail) in TAILS {
        let model = ending(tail);
        let interface = Interface::of(&model).unwrap();
        assert!(!interface.logits.before_softmax, "{name}");
        assert_eq!(interface.logits.value, model.graph().output[0].name(), "{name}");
    }
    // What is behind a switch that may be on is not the softmax.
    let model = ending(|b, logits| {
        let on = b.array("on", &ndarray::arr0(true));
        let y = b.node("Softmax", &[logits], vec![]);
        (b.node("Dropout", &[&y, "", &on], vec![]), DataType::Float)
    });
    assert!(!Interface::of(&model).unwrap().logits.before_softmax);
}

#[test]
fn classes_may_stand_last_among_positions() {
    let Some(environment) = environment() else { return };
    let model = residual(|b, logits| {
        let shape = b.integers("shape", &[-1, 1, 1, 4]);
        let y = b.node("Reshape", &[logits, &shape], vec![]);
        let y = b.named_node("chances", "Softmax", &[&y], vec![attribute::int("axis", 3)]);
        let shape = b.integers("shape", &[-1, 4]);
        b.node("Reshape", &[&y, &shape], vec![])
    });
    let trace = Trace::measure(environment, &model).unwrap();
    let gradient = loss_gradient(&model, &trace, Head::CrossEntropy).unwrap();
    let images = images(2);
    let step = attack_step(&gradient, environment, &images, &[("labels", &[0, 1])]);
    let served = run(&plain(), environment, &[("x", &images)], &[]);
    assert_eq!(served.values().next().unwrap(), &step.logits.into_dyn());
}

#[test]
fn several_softmaxes_side_by_side_are_no_end() {
    let Some(environment) = environment() else { return };
    let model = residual(|b, logits| {
        let shape = b.integers("shape", &[-1, 2, 2]);
        let y = b.node("Reshape", &[logits, &shape], vec![]);
        let y = b.node("Softmax", &[&y], vec![attribute::int("axis", -1)]);
        b.node("Flatten", &[&y], vec![])
    });
    let trace = Trace::measure(environment, &model).unwrap();
    support(&model, &trace).unwrap();
    let gradient = loss_gradient(&model, &trace, Head::Margin).unwrap();
    let images = images(2);
    let step = attack_step(&gradient, environment, &images, &[("labels", &[0, 1])]);
    let served: ArrayD<f32> =
        run(&model, environment, &[("x", &images)], &[]).into_values().next().unwrap();
    let error = (served - step.logits.into_dyn()).fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(error < 1e-6, "{error}");
}
