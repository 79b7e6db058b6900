//! Functions of one number.

use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View, always};

pub(super) const RULES: [Rule; 8] = [
    Rule { op: "Relu", check: always, backward: First(relu) },
    Rule { op: "LeakyRelu", check: leaky_slope, backward: First(leaky_relu) },
    Rule { op: "Clip", check: fixed_bounds, backward: First(clip) },
    Rule { op: "Sigmoid", check: always, backward: First(sigmoid) },
    Rule { op: "Tanh", check: always, backward: First(tanh) },
    Rule { op: "Exp", check: always, backward: First(exp) },
    Rule { op: "Sqrt", check: always, backward: First(sqrt) },
    Rule { op: "Neg", check: always, backward: First(neg) },
];

/// `g · [y > 0]`: nothing flows at 0, as in PyTorch.
///
/// Greater, Cast, Mul is faster on the CPU provider than Where, and reading the output rather than
/// the input leaves ONNX Runtime free to fuse the convolution with its activation.
fn relu(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let zero = builder.scalar("zero", 0.0);
    let positive = builder.node("Greater", &[view.output()?, &zero], vec![]);
    Ok(vec![(0, emit::masked(gradient, &positive, builder))])
}

fn fixed_bounds(view: &View<'_>) -> Result<(), Refusal> {
    view.only_first_is_active()
}

fn leaky_slope(view: &View<'_>) -> Result<(), Refusal> {
    view.attributes().float("alpha")?;
    Ok(())
}

/// `g` where `x > 0`, else `α g`.
fn leaky_relu(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let slope = view.attributes().float("alpha")?.unwrap_or(0.01);
    let zero = builder.scalar("zero", 0.0);
    let slope = builder.scalar("slope", slope);
    let positive = builder.node("Greater", &[view.input(0)?, &zero], vec![]);
    let reduced = builder.node("Mul", &[gradient, &slope], vec![]);
    Ok(vec![(0, builder.node("Where", &[&positive, gradient, &reduced], vec![]))])
}

/// `g · [y = x]`: all flows at the bounds, as in `torch.clamp`. An attack starts from pixels that
/// are exactly 0 or 1, and a model that clips them must not look robust for it.
fn clip(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let inside = builder.node("Equal", &[view.output()?, view.input(0)?], vec![]);
    Ok(vec![(0, emit::masked(gradient, &inside, builder))])
}

/// `g · y (1 − y)`.
fn sigmoid(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let one = builder.scalar("one", 1.0);
    let rest = builder.node("Sub", &[&one, view.output()?], vec![]);
    let slope = builder.node("Mul", &[view.output()?, &rest], vec![]);
    Ok(vec![(0, builder.node("Mul", &[gradient, &slope], vec![]))])
}

/// `g · (1 − y²)`.
fn tanh(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let one = builder.scalar("one", 1.0);
    let square = builder.node("Mul", &[view.output()?, view.output()?], vec![]);
    let slope = builder.node("Sub", &[&one, &square], vec![]);
    Ok(vec![(0, builder.node("Mul", &[gradient, &slope], vec![]))])
}

/// `g · y`.
fn exp(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    Ok(vec![(0, builder.node("Mul", &[gradient, view.output()?], vec![]))])
}

/// `g / 2y`.
fn sqrt(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let two = builder.scalar("two", 2.0);
    let double = builder.node("Mul", &[&two, view.output()?], vec![]);
    Ok(vec![(0, builder.node("Div", &[gradient, &double], vec![]))])
}

/// `−g`.
#[expect(clippy::unnecessary_wraps, reason = "the type that the rules share")]
fn neg(_: &View<'_>, gradient: &str, builder: &mut GraphBuilder) -> Result<Contributions, Refusal> {
    Ok(vec![(0, builder.node("Neg", &[gradient], vec![]))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn functions_of_one_number() {
        for op in ["Relu", "LeakyRelu", "Sigmoid", "Tanh", "Exp", "Neg"] {
            Case::new(&[2, 3, 3]).check(op, |b, x| b.node(op, &[x], vec![]));
        }
        Case::new(&[2, 3]).positive().check("Sqrt", |b, x| b.node("Sqrt", &[x], vec![]));
        Case::new(&[2, 3]).check("LeakyRelu alpha", |b, x| {
            b.node("LeakyRelu", &[x], vec![attribute::float("alpha", 0.3)])
        });
    }

    #[test]
    fn clip_with_both_one_or_no_bound() {
        for (low, high) in [(true, true), (true, false), (false, true), (false, false)] {
            Case::new(&[2, 4, 4]).check("Clip", |b, x| {
                let low = if low { b.scalar("low", -0.31) } else { String::new() };
                let high = if high { b.scalar("high", 0.375) } else { String::new() };
                b.node("Clip", &[x, &low, &high], vec![])
            });
        }
    }

    #[test]
    fn ties() {
        let nothing =
            Case::new(&[3]).gradient_at(&[0.0, -1.0, 2.0], |b, x| b.node("Relu", &[x], vec![]));
        let Some(nothing) = nothing else { return };
        assert_eq!(nothing, [0.0, 0.0, 1.0]);
        let all = Case::new(&[4]).gradient_at(&[0.0, 1.0, 1.5, -0.5], |b, x| {
            let (low, high) = (b.scalar("low", 0.0), b.scalar("high", 1.0));
            b.node("Clip", &[x, &low, &high], vec![])
        });
        assert_eq!(all.unwrap(), [1.0, 1.0, 0.0, 0.0]);
    }
}
