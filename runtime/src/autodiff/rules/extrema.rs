//! The largest, the smallest, the mean of several values, and the choice between two.

use rift_models::onnx::GraphBuilder;

use super::broadcast::{give, shapes};
use crate::autodiff::emit::Formula;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 4] = [
    Rule { op: "Max", check: shapes, backward: First(extremum) },
    Rule { op: "Min", check: shapes, backward: First(extremum) },
    Rule { op: "Mean", check: shapes, backward: First(mean) },
    Rule { op: "Where", check: shapes, backward: First(choice) },
];

/// `g` to the value that is chosen, in equal parts where several are.
fn extremum(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let y = view.output()?;
    let mut chosen = Vec::new();
    for slot in 0..view.node.input.len() {
        chosen.push(Formula::new(builder).holds(view.input(slot)?, "Equal", y));
    }
    let mut f = Formula::new(builder);
    let mut parts = chosen.iter();
    let Some(first) = parts.next().cloned() else { return Ok(Vec::new()) };
    let count = parts.fold(first, |sum, part| f.add(&sum, part));
    let share = f.div(gradient, &count);
    let mut contributions = Vec::new();
    for (slot, chosen) in chosen.iter().enumerate().filter(|(slot, _)| view.is_active(*slot)) {
        let part = Formula::new(builder).mul(&share, chosen);
        contributions.push(give(view, slot, part, builder)?);
    }
    Ok(contributions)
}

/// `g / n`.
fn mean(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let count = view.node.input.len();
    let share = Formula::new(builder).times(1.0 / count as f32, gradient);
    (0..count)
        .filter(|slot| view.is_active(*slot))
        .map(|slot| give(view, slot, share.clone(), builder))
        .collect()
}

/// `g` to the side that is chosen.
fn choice(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let zero = builder.scalar("zero", 0.0);
    let condition = view.input(0)?;
    let mut contributions = Vec::new();
    for (slot, sides) in [(1, [gradient, &zero]), (2, [&zero, gradient])] {
        if view.is_active(slot) {
            let part = builder.node("Where", &[condition, sides[0], sides[1]], vec![]);
            contributions.push(give(view, slot, part, builder)?);
        }
    }
    Ok(contributions)
}

#[cfg(test)]
mod tests {
    use crate::autodiff::testing::Case;

    #[test]
    fn of_the_image_constants_and_itself() {
        for op in ["Max", "Min", "Mean"] {
            Case::new(&[2, 3]).check(op, |b, x| {
                let row = b.floats("row", &[0.11, -0.23, 0.37]);
                let zero = b.scalar("zero", 0.0);
                b.node(op, &[x, &row, &zero], vec![])
            });
            Case::new(&[2, 3]).check(op, |b, x| {
                let negative = b.node("Neg", &[x], vec![]);
                b.node(op, &[x, &negative, x], vec![])
            });
            Case::new(&[2, 3]).check(op, |b, x| b.node(op, &[x], vec![]));
        }
    }

    #[test]
    fn a_part_that_is_broadcast_collects_what_it_gave() {
        Case::new(&[3, 2]).check("Max broadcast", |b, x| {
            let axes = b.integers("axes", &[1]);
            let sum = b.node("ReduceSum", &[x, &axes], vec![]);
            b.node("Max", &[x, &sum], vec![])
        });
    }

    #[test]
    fn between_two_by_the_image_itself() {
        Case::new(&[3, 2]).check("Where", |b, x| {
            let zero = b.scalar("zero", 0.0);
            let positive = b.node("Greater", &[x, &zero], vec![]);
            let double = b.node("Add", &[x, x], vec![]);
            b.node("Where", &[&positive, x, &double], vec![])
        });
        Case::new(&[3, 2]).check("Where constant", |b, x| {
            let zero = b.scalar("zero", 0.0);
            let positive = b.node("Greater", &[x, &zero], vec![]);
            let row = b.floats("row", &[0.5, 2.0]);
            b.node("Where", &[&positive, &row, x], vec![])
        });
    }

    #[test]
    fn equals_share() {
        let halves = Case::new(&[2]).gradient_at(&[0.0, 1.0], |b, x| {
            let zero = b.scalar("zero", 0.0);
            b.node("Max", &[x, &zero], vec![])
        });
        assert!(halves.is_none_or(|g| g == [0.5, 1.0]));
    }
}
