//! The losses: their values and gradients on logits that are fed directly.

use ndarray::{Array2, ArrayD, ArrayView1, Axis, IxDyn};
use ort::environment::Environment;
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model};

use super::{Gradient, attack_step};
use crate::autodiff::testing::environment;
use crate::autodiff::{Head, loss_gradient};
use crate::session::trace::Trace;

const HEADS: [Head; 7] = [
    Head::CrossEntropy,
    Head::LogOdds,
    Head::TargetLogOdds,
    Head::Margin,
    Head::LogitDifference,
    Head::Dlr,
    Head::TargetedDlr,
];

/// A model whose logits are its input.
fn mirror(classes: usize) -> Model {
    let mut builder = GraphBuilder::new("mirror", 17);
    let dims = [Dim::free("N"), Dim::Fixed(classes)];
    let x = builder.input("x", DataType::Float, &dims).unwrap();
    let y = builder.node("Neg", &[&x], vec![]);
    let y = builder.node("Neg", &[&y], vec![]);
    builder.output(&y, DataType::Float, &dims);
    builder.finish().unwrap()
}

fn graph(classes: usize, head: Head, environment: &Environment) -> Model {
    let model = mirror(classes);
    let trace = Trace::measure(environment, &model).unwrap();
    loss_gradient(&model, &trace, head).unwrap()
}

fn ask(graph: &Model, head: Head, logits: &ArrayD<f32>, environment: &Environment) -> Gradient {
    let rows = logits.len_of(Axis(0));
    let (labels, targets) = (vec![1; rows], vec![2; rows]);
    let integers = head.inputs().iter().map(|name| match *name {
        "labels" => ("labels", labels.as_slice()),
        name => (name, targets.as_slice()),
    });
    let integers: Vec<(&str, &[i64])> = integers.collect();
    attack_step(graph, environment, logits, &integers)
}

/// The loss for label 1 and target 2, from its definition.
fn loss(head: Head, z: &ArrayView1<f32>) -> f64 {
    let z: Vec<f64> = z.iter().map(|v| f64::from(*v)).collect();
    let mut sorted = z.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let best = |but: usize| {
        let others = (0..z.len()).filter(|j| *j != but);
        others.map(|j| z[j]).fold(f64::NEG_INFINITY, f64::max)
    };
    let sum = |but: Option<usize>| {
        let kept = (0..z.len()).filter(|j| Some(*j) != but);
        kept.map(|j| z[j].exp()).sum::<f64>().ln()
    };
    match head {
        Head::CrossEntropy => sum(None) - z[1],
        Head::LogOdds => sum(Some(1)) - z[1],
        Head::TargetLogOdds => z[2] - sum(Some(2)),
        Head::Margin => best(1) - z[1],
        Head::LogitDifference => z[2] - z[1],
        Head::Dlr => (best(1) - z[1]) / (sorted[0] - sorted[2]),
        Head::TargetedDlr => (z[2] - z[1]) / (sorted[0] - 0.5 * (sorted[2] + sorted[3])),
    }
}

#[test]
fn every_loss_is_its_definition_and_its_gradient_the_losss() {
    let Some(environment) = environment() else { return };
    let rows = Array2::from_shape_vec(
        (3, 5),
        vec![
            0.3, 2.0, -1.0, 0.9, 0.1, // right
            2.5, 0.4, 1.7, -0.3, 0.8, // wrong, by another class than the target
            0.2, 0.6, 3.1, 1.4, -2.0, // wrong, by the target
        ],
    )
    .unwrap();
    for head in HEADS {
        let graph = graph(5, head, environment);
        let step = ask(&graph, head, &rows.clone().into_dyn(), environment);
        for (n, row) in rows.rows().into_iter().enumerate() {
            let expected = loss(head, &row);
            assert!((f64::from(step.loss[n]) - expected).abs() < 1e-5, "{head:?} {n} {expected}");
            for class in 0..5 {
                let [up, down] = [1e-3, -1e-3].map(|step| {
                    let mut moved = row.to_owned();
                    moved[class] += step;
                    loss(head, &moved.view())
                });
                let (expected, found) = ((up - down) / 2e-3, step.input[[n, class]]);
                let error = (f64::from(found) - expected).abs();
                assert!(error < 2e-3, "{head:?}, row {n}, class {class}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn the_odds_point_where_cross_entropy_does_and_do_not_saturate() {
    let Some(environment) = environment() else { return };
    let sure = ArrayD::from_shape_vec(IxDyn(&[1, 4]), vec![-900.0, 2000.0, -1000.0, -901.0]);
    let sure = sure.unwrap();
    let odds = ask(&graph(4, Head::LogOdds, environment), Head::LogOdds, &sure, environment);
    let entropy =
        ask(&graph(4, Head::CrossEntropy, environment), Head::CrossEntropy, &sure, environment);
    assert!(entropy.input.iter().all(|slope| *slope == 0.0));
    assert!((odds.input[[0, 0]] - 0.731).abs() < 1e-3 && odds.input[[0, 1]] == -1.0);
    let calm = ArrayD::from_shape_vec(IxDyn(&[1, 4]), vec![0.5, 1.0, -0.3, 0.2]).unwrap();
    let odds = ask(&graph(4, Head::LogOdds, environment), Head::LogOdds, &calm, environment);
    let entropy =
        ask(&graph(4, Head::CrossEntropy, environment), Head::CrossEntropy, &calm, environment);
    let ratio = entropy.input[[0, 0]] / odds.input[[0, 0]];
    for (a, b) in odds.input.iter().zip(&entropy.input) {
        assert!((a * ratio - b).abs() < 1e-6);
    }
    assert!((odds.loss[0].exp().ln_1p() - entropy.loss[0]).abs() < 1e-6);
}

#[test]
fn the_ratio_does_not_see_a_scale() {
    let Some(environment) = environment() else { return };
    let row = |scale: f32| {
        let values = [0.3, 2.0, -1.0, 0.9].map(|v| v * scale).to_vec();
        ArrayD::from_shape_vec(IxDyn(&[1, 4]), values).unwrap()
    };
    for head in [Head::Dlr, Head::TargetedDlr] {
        let graph = graph(4, head, environment);
        let [one, many] = [1.0, 1000.0].map(|scale| ask(&graph, head, &row(scale), environment));
        assert!((one.loss[0] - many.loss[0]).abs() < 1e-6);
    }
}

#[test]
fn two_classes_have_every_loss_but_the_ratios() {
    let Some(environment) = environment() else { return };
    let logits = ArrayD::from_shape_vec(IxDyn(&[1, 2]), vec![0.25, 1.0]).unwrap();
    for head in HEADS.into_iter().filter(|head| head.fewest_classes() <= 2) {
        if head.inputs().contains(&"targets") {
            continue;
        }
        let step = ask(&graph(2, head, environment), head, &logits, environment);
        assert!(step.input[[0, 0]] > 0.0 && step.input[[0, 1]] < 0.0, "{head:?}");
    }
    assert_eq!((Head::Dlr.fewest_classes(), Head::TargetedDlr.fewest_classes()), (3, 4));
}
