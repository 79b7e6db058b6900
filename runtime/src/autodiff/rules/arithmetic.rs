//! Sums, differences, products and quotients, with broadcasting.

use rift_models::onnx::{GraphBuilder, attribute};

use super::broadcast::{give, shapes};
use crate::autodiff::emit::{self, Formula};
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 6] = [
    Rule { op: "Add", check: shapes, backward: First(add) },
    Rule { op: "Sum", check: shapes, backward: First(add) },
    Rule { op: "Sub", check: shapes, backward: First(sub) },
    Rule { op: "Mul", check: shapes, backward: First(mul) },
    Rule { op: "Div", check: shapes, backward: First(div) },
    Rule { op: "Pow", check: shapes, backward: First(pow) },
];

/// `g` for every summand.
fn add(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    (0..view.node.input.len())
        .filter(|slot| view.is_active(*slot))
        .map(|slot| give(view, slot, gradient.to_owned(), builder))
        .collect()
}

/// `g` and `−g`.
fn sub(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut contributions = Vec::new();
    if view.is_active(0) {
        contributions.push(give(view, 0, gradient.to_owned(), builder)?);
    }
    if view.is_active(1) {
        let negative = builder.node("Neg", &[gradient], vec![]);
        contributions.push(give(view, 1, negative, builder)?);
    }
    Ok(contributions)
}

/// `g · b` and `g · a`.
fn mul(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut contributions = Vec::new();
    for (slot, other) in [(0, 1), (1, 0)] {
        if view.is_active(slot) {
            let product = builder.node("Mul", &[gradient, view.input(other)?], vec![]);
            contributions.push(give(view, slot, product, builder)?);
        }
    }
    Ok(contributions)
}

/// `g / b` and `−g · y / b`.
fn div(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let quotient = builder.node("Div", &[gradient, view.input(1)?], vec![]);
    let mut contributions = Vec::new();
    if view.is_active(0) {
        contributions.push(give(view, 0, quotient.clone(), builder)?);
    }
    if view.is_active(1) {
        let product = builder.node("Mul", &[&quotient, view.output()?], vec![]);
        let negative = builder.node("Neg", &[&product], vec![]);
        contributions.push(give(view, 1, negative, builder)?);
    }
    Ok(contributions)
}

/// `g · b a^(b−1)` and `g · y ln a`; the latter is 0 at `a = 0`, as in PyTorch.
fn pow(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let base = view.input(0)?;
    let to_float = vec![attribute::int("to", emit::FLOAT)];
    let exponent = builder.node("Cast", &[view.input(1)?], to_float);
    let mut contributions = Vec::new();
    if view.is_active(0) {
        let mut f = Formula::new(builder);
        // At an exponent of 0 the power below would be infinite at 0, and 0 times that is no number.
        let is_zero = f.is(&exponent, "Equal", 0.0);
        let less = f.plus(&exponent, -1.0);
        let less = f.add(&less, &is_zero);
        let power = builder.node("Pow", &[base, &less], vec![]);
        let mut f = Formula::new(builder);
        let slope = f.mul(&exponent, &power);
        let product = f.mul(gradient, &slope);
        contributions.push(give(view, 0, product, builder)?);
    }
    if view.is_active(1) {
        let mut f = Formula::new(builder);
        let base = f.nonzero(base);
        let logarithm = f.of("Log", &base);
        let slope = f.mul(view.output()?, &logarithm);
        let product = f.mul(gradient, &slope);
        contributions.push(give(view, 1, product, builder)?);
    }
    Ok(contributions)
}

#[cfg(test)]
mod tests {
    use ndarray::Array;

    use crate::autodiff::testing::Case;

    fn numbers(shape: &[usize]) -> ndarray::ArrayD<f32> {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| 0.5 + 0.25 * (i % 5) as f32).collect();
        Array::from_shape_vec(shape, values).unwrap()
    }

    #[test]
    fn with_constants_of_every_shape_on_either_side() {
        for op in ["Add", "Sub", "Mul", "Div"] {
            for shape in [&[][..], &[2], &[3, 1], &[1, 3, 2], &[1, 1, 3, 1]] {
                Case::new(&[3, 2]).positive().check(op, |b, x| {
                    let c =
                        b.array("c", &numbers(if shape.len() == 4 { &[1, 3, 1] } else { shape }));
                    b.node(op, &[x, &c], vec![])
                });
                Case::new(&[3, 2]).positive().check(op, |b, x| {
                    let c =
                        b.array("c", &numbers(if shape.len() == 4 { &[1, 3, 1] } else { shape }));
                    b.node(op, &[&c, x], vec![])
                });
            }
        }
    }

    #[test]
    fn with_itself() {
        for op in ["Add", "Sub", "Mul", "Div"] {
            Case::new(&[2, 2]).positive().check(op, |b, x| {
                let c = b.floats("c", &[1.5, -0.5]);
                let scaled = b.node("Mul", &[x, &c], vec![]);
                b.node(op, &[&scaled, x], vec![])
            });
            Case::new(&[2, 2]).positive().check(op, |b, x| b.node(op, &[x, x], vec![]));
        }
        Case::new(&[2, 2]).check("Sum", |b, x| b.node("Sum", &[x, x, x], vec![]));
    }

    #[test]
    fn a_part_that_is_broadcast_collects_what_it_gave() {
        Case::new(&[3, 2, 2]).check("ReduceMean then Mul", |b, x| {
            let axes = rift_models::onnx::attribute::ints("axes", &[2, 3]);
            let mean = b.node("ReduceMean", &[x], vec![axes]);
            b.node("Mul", &[x, &mean], vec![])
        });
    }

    #[test]
    fn powers() {
        for exponent in [2.0, 3.0, 1.0, 0.0] {
            Case::new(&[2, 3]).check("Pow", |b, x| {
                let exponent = b.scalar("exponent", exponent);
                b.node("Pow", &[x, &exponent], vec![])
            });
        }
        Case::new(&[2, 3]).check("Pow of whole numbers", |b, x| {
            let exponent = b.integers("exponent", &[2]);
            b.node("Pow", &[x, &exponent], vec![])
        });
        Case::new(&[2, 3]).positive().check("Pow of parts", |b, x| {
            let exponent = b.floats("exponent", &[0.5, -1.5, 2.5]);
            b.node("Pow", &[x, &exponent], vec![])
        });
        Case::new(&[2, 3]).positive().check("Pow of itself", |b, x| b.node("Pow", &[x, x], vec![]));
        Case::new(&[2, 3]).check("Pow as exponent", |b, x| {
            let base = b.floats("base", &[2.0, 0.5, 1.5]);
            b.node("Pow", &[&base, x], vec![])
        });
        let at_zero = Case::new(&[2]).gradient_at(&[0.0, 2.0], |b, x| {
            let exponent = b.floats("exponent", &[2.0, 0.0]);
            b.node("Pow", &[x, &exponent], vec![])
        });
        assert!(at_zero.is_none_or(|g| g == [0.0, 0.0]));
    }
}
