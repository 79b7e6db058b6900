//! Sums, differences, products and quotients, with broadcasting.

use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 5] = [
    Rule { op: "Add", check: shapes, backward: First(add) },
    Rule { op: "Sum", check: shapes, backward: First(add) },
    Rule { op: "Sub", check: shapes, backward: First(sub) },
    Rule { op: "Mul", check: shapes, backward: First(mul) },
    Rule { op: "Div", check: shapes, backward: First(div) },
];

fn shapes(view: &View<'_>) -> Result<(), Refusal> {
    view.shape(view.output()?)?;
    for slot in (0..view.node.input.len()).filter(|s| view.is_active(*s)) {
        view.shape(view.input(slot)?)?;
    }
    Ok(())
}

/// Hands input `slot` its `gradient`, which has the shape of the result.
fn give(
    view: &View<'_>,
    slot: usize,
    gradient: String,
    builder: &mut GraphBuilder,
) -> Result<(usize, String), Refusal> {
    let from = view.shape(view.output()?)?;
    Ok((slot, emit::unbroadcast(view, gradient, from, view.input(slot)?, builder)?))
}

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
}
