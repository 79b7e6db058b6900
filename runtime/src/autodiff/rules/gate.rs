//! Activations of several pieces.

use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit::Formula;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View, always};

pub(super) const RULES: [Rule; 7] = [
    Rule { op: "PRelu", check: prelu_slope, backward: First(prelu) },
    Rule { op: "Elu", check: always, backward: First(elu) },
    Rule { op: "Selu", check: always, backward: First(selu) },
    Rule { op: "Celu", check: always, backward: First(celu) },
    Rule { op: "ThresholdedRelu", check: always, backward: First(thresholded) },
    Rule { op: "HardSigmoid", check: always, backward: First(hard_sigmoid) },
    Rule { op: "HardSwish", check: always, backward: First(hard_swish) },
];

fn prelu_slope(view: &View<'_>) -> Result<(), Refusal> {
    view.only_first_is_active()
}

/// `g` where `x > 0`, else `s g`.
fn prelu(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let positive = f.above(view.input(0)?, 0.0);
    let reduced = f.mul(gradient, view.input(1)?);
    Ok(vec![(0, f.choose(&positive, gradient, &reduced))])
}

/// `g` where `x > 0`, else `g (y + α)`.
fn elu(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let alpha = view.attributes().float("alpha")?.unwrap_or(1.0);
    let mut f = Formula::new(builder);
    let positive = f.above(view.input(0)?, 0.0);
    let slope = f.plus(view.output()?, alpha);
    let bent = f.mul(gradient, &slope);
    Ok(vec![(0, f.choose(&positive, gradient, &bent))])
}

/// `γ g` where `x > 0`, else `g (y + γ α)`.
fn selu(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let alpha = view.attributes().float("alpha")?.unwrap_or(1.673_263_2);
    let gamma = view.attributes().float("gamma")?.unwrap_or(1.050_701);
    let mut f = Formula::new(builder);
    let positive = f.above(view.input(0)?, 0.0);
    let straight = f.times(gamma, gradient);
    let slope = f.plus(view.output()?, gamma * alpha);
    let bent = f.mul(gradient, &slope);
    Ok(vec![(0, f.choose(&positive, &straight, &bent))])
}

/// `g` where `x > 0`, else `g (y / α + 1)`.
fn celu(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let alpha = view.attributes().float("alpha")?.unwrap_or(1.0);
    let mut f = Formula::new(builder);
    let positive = f.above(view.input(0)?, 0.0);
    let slope = f.times(1.0 / alpha, view.output()?);
    let slope = f.plus(&slope, 1.0);
    let bent = f.mul(gradient, &slope);
    Ok(vec![(0, f.choose(&positive, gradient, &bent))])
}

/// `g` where `x > α`, else 0.
fn thresholded(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let alpha = view.attributes().float("alpha")?.unwrap_or(1.0);
    let mut f = Formula::new(builder);
    let passes = f.is(view.input(0)?, "Greater", alpha);
    Ok(vec![(0, f.mul(gradient, &passes))])
}

/// `α g` where `0 < y < 1`, else 0.
fn hard_sigmoid(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let alpha = view.attributes().float("alpha")?.unwrap_or(0.2);
    let mut f = Formula::new(builder);
    let low = f.is(view.output()?, "Greater", 0.0);
    let high = f.is(view.output()?, "Less", 1.0);
    let inside = f.mul(&low, &high);
    let slope = f.times(alpha, &inside);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// `y = x · clip(x/6 + 1/2, 0, 1)`: 0 up to −3, `g` from 3 on, `g (x/3 + 1/2)` between.
fn hard_swish(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let x = view.input(0)?;
    let mut f = Formula::new(builder);
    let low = f.is(x, "Greater", -3.0);
    let slope = f.times(1.0 / 3.0, x);
    let slope = f.plus(&slope, 0.5);
    let bent = f.mul(gradient, &slope);
    let bent = f.mul(&bent, &low);
    let straight = f.above(x, 3.0);
    Ok(vec![(0, f.choose(&straight, gradient, &bent))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    /// Numbers up to ±5, so that every piece is visited.
    fn wide(op: &'static str, settings: &[(&'static str, f32)]) {
        Case::new(&[3, 5, 4]).check(op, |b, x| {
            let five = b.scalar("five", 5.0);
            let wide = b.node("Mul", &[x, &five], vec![]);
            b.node(op, &[&wide], settings.iter().map(|(n, v)| attribute::float(n, *v)).collect())
        });
    }

    #[test]
    fn every_piece() {
        for op in ["Elu", "Selu", "Celu", "ThresholdedRelu", "HardSigmoid", "HardSwish"] {
            wide(op, &[]);
        }
        wide("Elu", &[("alpha", 0.3)]);
        wide("Selu", &[("alpha", 0.5), ("gamma", 2.0)]);
        wide("Celu", &[("alpha", 2.0)]);
        wide("ThresholdedRelu", &[("alpha", 0.33)]);
        wide("HardSigmoid", &[("alpha", 0.5), ("beta", 1.0 / 12.0)]);
    }

    #[test]
    fn prelu_by_channel() {
        for shape in [&[3, 1, 1][..], &[1], &[3, 2, 4]] {
            Case::new(&[3, 2, 4]).check("PRelu", |b, x| {
                let slope = b.array("slope", &crate::autodiff::testing::weights(shape));
                b.node("PRelu", &[x, &slope], vec![])
            });
        }
    }

    #[test]
    fn ties_are_as_in_pytorch() {
        let at = |op: &'static str, value: f32| {
            let found = Case::new(&[1]).gradient_at(&[value], |b, x| b.node(op, &[x], vec![]));
            found.map(|g| g[0])
        };
        let Some(elu) = at("Elu", 0.0) else { return };
        assert_eq!(elu, 1.0);
        assert_eq!(at("HardSwish", -3.0), Some(0.0));
        assert_eq!(at("HardSwish", 3.0), Some(1.5));
        assert_eq!(at("ThresholdedRelu", 1.0), Some(0.0));
        assert_eq!(at("HardSigmoid", 2.5), Some(0.0));
    }
}
