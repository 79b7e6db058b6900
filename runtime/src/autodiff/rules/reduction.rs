//! Sums and means over whole dimensions.

use ndarray::{ArrayD, IxDyn};
use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};
use crate::session::trace::Length;

pub(super) const RULES: [Rule; 3] = [
    Rule { op: "ReduceMean", check, backward: First(mean) },
    Rule { op: "ReduceSum", check, backward: First(sum) },
    Rule { op: "GlobalAveragePool", check, backward: First(mean) },
];

/// The axes that are reduced, counted from the front.
fn axes(view: &View<'_>) -> Result<Vec<usize>, Refusal> {
    let rank = view.shape(view.input(0)?)?.len();
    if view.node.op_type() == "GlobalAveragePool" {
        return Ok((2..rank).collect());
    }
    // The axes moved from an attribute to an input: of ReduceSum in version 13, of ReduceMean in 18.
    let axes = match view.attributes().ints("axes")? {
        Some(axes) => Some(axes),
        None => view.integers(1)?,
    };
    match axes {
        Some(axes) if !axes.is_empty() => axes.iter().map(|a| View::axis(*a, rank)).collect(),
        _ if view.attributes().int("noop_with_empty_axes")?.unwrap_or(0) != 0 => Ok(Vec::new()),
        _ => Ok((0..rank).collect()),
    }
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    let input = view.input(0)?;
    for axis in axes(view)? {
        view.fixed(input, axis)?;
    }
    view.shape(view.output()?).map(|_| ())
}

fn mean(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut count = 1;
    for axis in axes(view)? {
        count *= view.fixed(view.input(0)?, axis)?;
    }
    spread(view, gradient, 1.0 / count as f32, builder)
}

fn sum(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    spread(view, gradient, 1.0, builder)
}

/// Repeats `gradient`, times `factor`, over the axes that were reduced.
fn spread(
    view: &View<'_>,
    gradient: &str,
    factor: f32,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let (input, axes) = (view.input(0)?, axes(view)?);
    let shape = view.shape(input)?;
    let mut kept: Vec<Length> = shape.to_vec();
    let mut repeat = vec![1; shape.len()];
    for axis in axes {
        kept[axis] = Length::Fixed(1);
        repeat[axis] = view.fixed(input, axis)?;
    }
    let mut gradient = gradient.to_owned();
    if view.shape(view.output()?)? != kept {
        let target = builder.integers("shape", &emit::target_shape(&kept)?);
        gradient = builder.node("Reshape", &[&gradient, &target], vec![]);
    }
    let repeat = builder.array("spread", &ArrayD::from_elem(IxDyn(&repeat), factor));
    Ok(vec![(0, builder.node("Mul", &[&gradient, &repeat], vec![]))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn with_axes_as_an_attribute() {
        for keep in [0, 1] {
            for axes in [&[2, 3][..], &[-1], &[1], &[1, 2, 3]] {
                Case::new(&[2, 3, 2]).check("ReduceMean 13", |b, x| {
                    let settings =
                        vec![attribute::ints("axes", axes), attribute::int("keepdims", keep)];
                    b.node("ReduceMean", &[x], settings)
                });
            }
        }
    }

    #[test]
    fn with_axes_as_an_input() {
        for (op, opset) in [("ReduceMean", 18), ("ReduceSum", 13), ("ReduceSum", 21)] {
            for keep in [0, 1] {
                Case::new(&[2, 3, 2]).opset(opset).check(op, |b, x| {
                    let axes = b.integers("axes", &[-2, 3]);
                    b.node(op, &[x, &axes], vec![attribute::int("keepdims", keep)])
                });
            }
        }
        Case::new(&[2, 2]).opset(18).check("nothing reduced", |b, x| {
            b.node("ReduceMean", &[x], vec![attribute::int("noop_with_empty_axes", 1)])
        });
    }

    #[test]
    fn over_all_positions() {
        Case::new(&[2, 3, 2])
            .check("GlobalAveragePool", |b, x| b.node("GlobalAveragePool", &[x], vec![]));
        Case::new(&[2, 3])
            .check("GlobalAveragePool", |b, x| b.node("GlobalAveragePool", &[x], vec![]));
    }
}
