//! Smooth functions of one number.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit::Formula;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View, always};

pub(super) const RULES: [Rule; 11] = [
    Rule { op: "Abs", check: always, backward: First(abs) },
    Rule { op: "Cos", check: always, backward: First(cos) },
    Rule { op: "Erf", check: always, backward: First(erf) },
    Rule { op: "Gelu", check: gelu_kind, backward: First(gelu) },
    Rule { op: "Log", check: always, backward: First(log) },
    Rule { op: "Mish", check: always, backward: First(mish) },
    Rule { op: "Reciprocal", check: always, backward: First(reciprocal) },
    Rule { op: "Sin", check: always, backward: First(sin) },
    Rule { op: "Softplus", check: always, backward: First(softplus) },
    Rule { op: "Softsign", check: always, backward: First(softsign) },
    Rule { op: "Swish", check: always, backward: First(swish) },
];

/// `g · sign(x)`: nothing flows at 0.
fn abs(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let sign = f.of("Sign", view.input(0)?);
    Ok(vec![(0, f.mul(gradient, &sign))])
}

/// `−g · sin(x)`.
fn cos(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let slope = f.of("Sin", view.input(0)?);
    let slope = f.of("Neg", &slope);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// `g · cos(x)`.
fn sin(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let slope = f.of("Cos", view.input(0)?);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// `exp(−x² / d)`.
fn bell(f: &mut Formula<'_>, x: &str, d: f32) -> String {
    let square = f.mul(x, x);
    let exponent = f.times(-1.0 / d, &square);
    f.of("Exp", &exponent)
}

/// `g · 2/√π · exp(−x²)`.
fn erf(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let bell = bell(&mut f, view.input(0)?, 1.0);
    let slope = f.times(FRAC_2_SQRT_PI, &bell);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// Whether the hyperbolic tangent stands for the error function.
fn is_tanh(view: &View<'_>) -> Result<bool, Refusal> {
    match view.attributes().string("approximate")?.unwrap_or("none") {
        "none" => Ok(false),
        "tanh" => Ok(true),
        other => Err(view.attributes().wrong("approximate", "none or tanh", other).into()),
    }
}

fn gelu_kind(view: &View<'_>) -> Result<(), Refusal> {
    is_tanh(view).map(|_| ())
}

/// `y = x Φ(x)` gives `g (Φ(x) + x φ(x))`. With the hyperbolic tangent, `y = x (1 + tanh u) / 2`
/// where `u = √(2/π) (x + 0.044715 x³)` gives `g ((1 + t) / 2 + x (1 − t²) u′ / 2)`.
fn gelu(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let x = view.input(0)?;
    let mut f = Formula::new(builder);
    let slope = if is_tanh(view)? {
        let root = (2.0 / PI).sqrt();
        let square = f.mul(x, x);
        let inner = f.times(0.044_715, &square);
        let inner = f.plus(&inner, 1.0);
        let inner = f.mul(x, &inner);
        let inner = f.times(root, &inner);
        let t = f.of("Tanh", &inner);
        let inner_slope = f.times(3.0 * 0.044_715 * root, &square);
        let inner_slope = f.plus(&inner_slope, root);
        let squared = f.mul(&t, &t);
        let rest = f.of("Neg", &squared);
        let rest = f.plus(&rest, 1.0);
        let rest = f.mul(&rest, &inner_slope);
        let rest = f.mul(x, &rest);
        let sum = f.add(&t, &rest);
        let sum = f.plus(&sum, 1.0);
        f.times(0.5, &sum)
    } else {
        let scaled = f.times(FRAC_1_SQRT_2, x);
        let error = f.of("Erf", &scaled);
        let cumulative = f.plus(&error, 1.0);
        let cumulative = f.times(0.5, &cumulative);
        let bell = bell(&mut f, x, 2.0);
        let density = f.times(0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI, &bell);
        let rest = f.mul(x, &density);
        f.add(&cumulative, &rest)
    };
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// `g / x`.
fn log(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    Ok(vec![(0, Formula::new(builder).div(gradient, view.input(0)?))])
}

/// `−g y²`.
fn reciprocal(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let square = f.mul(view.output()?, view.output()?);
    let slope = f.of("Neg", &square);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// `g · σ(x)`.
fn softplus(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let slope = f.of("Sigmoid", view.input(0)?);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// `g / (1 + |x|)²`.
fn softsign(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let size = f.of("Abs", view.input(0)?);
    let size = f.plus(&size, 1.0);
    let square = f.mul(&size, &size);
    Ok(vec![(0, f.div(gradient, &square))])
}

/// `y = x tanh(s)` with `s = softplus(x)` gives `g (tanh(s) + x (1 − tanh²(s)) σ(x))`.
fn mish(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let x = view.input(0)?;
    let mut f = Formula::new(builder);
    let soft = f.of("Softplus", x);
    let t = f.of("Tanh", &soft);
    let square = f.mul(&t, &t);
    let rest = f.of("Neg", &square);
    let rest = f.plus(&rest, 1.0);
    let sigmoid = f.of("Sigmoid", x);
    let rest = f.mul(&rest, &sigmoid);
    let rest = f.mul(x, &rest);
    let slope = f.add(&t, &rest);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

/// `y = x σ(αx)` gives `g (σ(αx) + α y (1 − σ(αx)))`.
fn swish(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let alpha = view.attributes().float("alpha")?.unwrap_or(1.0);
    let mut f = Formula::new(builder);
    let scaled = f.times(alpha, view.input(0)?);
    let sigmoid = f.of("Sigmoid", &scaled);
    let rest = f.of("Neg", &sigmoid);
    let rest = f.plus(&rest, 1.0);
    let rest = f.mul(view.output()?, &rest);
    let rest = f.times(alpha, &rest);
    let slope = f.add(&sigmoid, &rest);
    Ok(vec![(0, f.mul(gradient, &slope))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn everywhere() {
        for op in ["Abs", "Cos", "Erf", "Mish", "Sin", "Softplus", "Softsign"] {
            Case::new(&[2, 3, 3]).opset(18).check(op, |b, x| {
                let three = b.scalar("three", 3.0);
                let wide = b.node("Mul", &[x, &three], vec![]);
                b.node(op, &[&wide], vec![])
            });
        }
        for op in ["Log", "Reciprocal"] {
            Case::new(&[2, 3]).positive().check(op, |b, x| b.node(op, &[x], vec![]));
        }
    }

    #[test]
    fn gelu_of_both_kinds() {
        for kind in ["none", "tanh"] {
            Case::new(&[2, 3, 3]).opset(20).check("Gelu", |b, x| {
                let three = b.scalar("three", 3.0);
                let wide = b.node("Mul", &[x, &three], vec![]);
                b.node("Gelu", &[&wide], vec![attribute::string("approximate", kind)])
            });
        }
    }

    #[test]
    fn swish_of_any_steepness() {
        for alpha in [1.0, 1.7, -0.5] {
            Case::new(&[2, 3, 3]).opset(24).check("Swish", |b, x| {
                let three = b.scalar("three", 3.0);
                let wide = b.node("Mul", &[x, &three], vec![]);
                b.node("Swish", &[&wide], vec![attribute::float("alpha", alpha)])
            });
        }
    }

    #[test]
    fn nothing_flows_where_a_size_has_a_kink() {
        let found = Case::new(&[2]).gradient_at(&[0.0, -2.0], |b, x| b.node("Abs", &[x], vec![]));
        assert!(found.is_none_or(|g| g == [0.0, -1.0]));
    }
}
