//! Softmax and its logarithm inside a network.

use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 2] = [
    Rule { op: "Softmax", check, backward: First(softmax) },
    Rule { op: "LogSoftmax", check, backward: First(log_softmax) },
];

fn axis(view: &View<'_>) -> Result<i64, Refusal> {
    Ok(view.attributes().int("axis")?.unwrap_or(-1))
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    let rank = view.shape(view.input(0)?)?.len();
    View::axis(axis(view)?, rank).map(|_| ())
}

/// `y · (g − Σ g y)`.
fn softmax(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let product = builder.node("Mul", &[gradient, view.output()?], vec![]);
    let sum = emit::sum_over(&product, axis(view)?, builder);
    let centred = builder.node("Sub", &[gradient, &sum], vec![]);
    Ok(vec![(0, builder.node("Mul", &[view.output()?, &centred], vec![]))])
}

/// `g − exp(y) Σ g`.
fn log_softmax(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let sum = emit::sum_over(gradient, axis(view)?, builder);
    let probability = builder.node("Exp", &[view.output()?], vec![]);
    let share = builder.node("Mul", &[&probability, &sum], vec![]);
    Ok(vec![(0, builder.node("Sub", &[gradient, &share], vec![]))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn over_any_axis() {
        for op in ["Softmax", "LogSoftmax"] {
            Case::new(&[3, 2]).check(op, |b, x| b.node(op, &[x], vec![]));
            for axis in [1, -2] {
                Case::new(&[3, 2])
                    .check(op, |b, x| b.node(op, &[x], vec![attribute::int("axis", axis)]));
            }
        }
    }
}
