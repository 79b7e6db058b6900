//! Operators that move numbers and change none.

use rift_models::onnx::{GraphBuilder, attribute, tensor};

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View, always};

pub(super) const RULES: [Rule; 9] = [
    Rule { op: "Identity", check: always, backward: First(pass) },
    Rule { op: "Cast", check: always, backward: First(pass) },
    Rule { op: "Dropout", check: dropout, backward: First(pass) },
    Rule { op: "Flatten", check: reshapes, backward: First(reshape) },
    Rule { op: "Reshape", check: reshapes, backward: First(reshape) },
    Rule { op: "Squeeze", check: reshapes, backward: First(reshape) },
    Rule { op: "Unsqueeze", check: reshapes, backward: First(reshape) },
    Rule { op: "Transpose", check: turns, backward: First(transpose) },
    Rule { op: "Concat", check: joins, backward: First(concat) },
];

#[expect(clippy::unnecessary_wraps, reason = "the type that the rules share")]
fn pass(_: &View<'_>, gradient: &str, _: &mut GraphBuilder) -> Result<Contributions, Refusal> {
    Ok(vec![(0, gradient.to_owned())])
}

/// Unless a third input switches training on, nothing is dropped.
fn dropout(view: &View<'_>) -> Result<(), Refusal> {
    let Some(training) = view.optional(2) else { return Ok(()) };
    let stored = view.index.constant(training).map(tensor::load::<bool>).transpose()?;
    match stored {
        Some(stored) if stored.iter().all(|on| !on) => Ok(()),
        _ => Err(Refusal::new("it may be in training mode")),
    }
}

fn reshapes(view: &View<'_>) -> Result<(), Refusal> {
    emit::target_shape(view.shape(view.input(0)?)?).map(|_| ())
}

fn reshape(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    Ok(vec![(0, emit::reshape_like(view, gradient, view.input(0)?, builder)?)])
}

/// The order that undoes the node's.
fn inverse_order(view: &View<'_>) -> Result<Vec<i64>, Refusal> {
    let rank = view.shape(view.input(0)?)?.len();
    let Some(order) = view.attributes().ints("perm")? else {
        return Ok((0..rank as i64).rev().collect());
    };
    let mut inverse = vec![None; rank];
    for (to, from) in order.iter().enumerate() {
        inverse[View::axis(*from, rank)?] = Some(to as i64);
    }
    let inverse: Option<Vec<i64>> = inverse.into_iter().collect();
    inverse.ok_or_else(|| {
        Refusal::from(view.attributes().wrong("perm", "an order of all dimensions", "another"))
    })
}

fn turns(view: &View<'_>) -> Result<(), Refusal> {
    inverse_order(view).map(|_| ())
}

fn transpose(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let order = attribute::ints("perm", &inverse_order(view)?);
    Ok(vec![(0, builder.node("Transpose", &[gradient], vec![order]))])
}

/// The axis along which `Concat` joins and where each input begins and ends on it.
fn pieces(view: &View<'_>) -> Result<(i64, Vec<(i64, i64)>), Refusal> {
    let rank = view.shape(view.output()?)?.len();
    let axis = view.attributes().int("axis")?;
    let axis = View::axis(axis.ok_or_else(|| Refusal::new("attribute `axis` is missing"))?, rank)?;
    let mut end = 0;
    let mut pieces = Vec::new();
    for slot in 0..view.node.input.len() {
        let start = end;
        end += view.fixed(view.input(slot)?, axis)? as i64;
        pieces.push((start, end));
    }
    Ok((axis as i64, pieces))
}

fn joins(view: &View<'_>) -> Result<(), Refusal> {
    pieces(view).map(|_| ())
}

fn concat(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let (axis, pieces) = pieces(view)?;
    let mut contributions = Vec::new();
    for (slot, (start, end)) in pieces.into_iter().enumerate() {
        if view.is_active(slot) {
            let start = builder.integers("start", &[start]);
            let end = builder.integers("end", &[end]);
            let axis = builder.integers("axes", &[axis]);
            contributions
                .push((slot, builder.node("Slice", &[gradient, &start, &end, &axis], vec![])));
        }
    }
    Ok(contributions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::testing::Case;

    #[test]
    fn passing_and_reshaping() {
        for op in ["Identity", "Dropout", "Flatten"] {
            Case::new(&[2, 3]).check(op, |b, x| b.node(op, &[x], vec![]));
        }
        for target in [&[-1, 6][..], &[0, 3, 2], &[-1, 1, 2, 3]] {
            Case::new(&[2, 3]).check("Reshape", |b, x| {
                let target = b.integers("target", target);
                b.node("Reshape", &[x, &target], vec![])
            });
        }
        Case::new(&[2, 1, 3]).check("Squeeze, Unsqueeze", |b, x| {
            let axes = b.integers("axes", &[2]);
            let y = b.node("Squeeze", &[x, &axes], vec![]);
            let axes = b.integers("axes", &[1, -1]);
            b.node("Unsqueeze", &[&y, &axes], vec![])
        });
    }

    #[test]
    fn reshaping_by_a_computed_shape() {
        Case::new(&[2, 3]).check("computed shape", |b, x| {
            let shape = b.node("Shape", &[x], vec![attribute::int("end", 1)]);
            let rest = b.integers("rest", &[-1]);
            let shape = b.node("Concat", &[&shape, &rest], vec![attribute::int("axis", 0)]);
            b.node("Reshape", &[x, &shape], vec![])
        });
    }

    #[test]
    fn turning() {
        for order in [&[0, 2, 3, 1][..], &[0, 3, 1, 2], &[0, 1, 3, 2]] {
            Case::new(&[2, 3, 4]).check("Transpose", |b, x| {
                b.node("Transpose", &[x], vec![attribute::ints("perm", order)])
            });
        }
        Case::new(&[2, 3]).check("Transpose twice", |b, x| {
            let y = b.node("Transpose", &[x], vec![]);
            b.node("Transpose", &[&y], vec![])
        });
    }

    #[test]
    fn joining() {
        for axis in [1, 2, -1] {
            Case::new(&[2, 3, 2]).check("Concat", |b, x| {
                let y = b.node("Neg", &[x], vec![]);
                b.node("Concat", &[x, &y, x], vec![attribute::int("axis", axis)])
            });
        }
    }
}
