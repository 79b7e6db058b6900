//! Sums and means over whole dimensions.

use ndarray::{ArrayD, IxDyn};
use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::emit::{self, Formula};
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};
use crate::session::trace::Length;

pub(super) const RULES: [Rule; 11] = [
    Rule { op: "ReduceMean", check, backward: First(mean) },
    Rule { op: "ReduceSum", check, backward: First(sum) },
    Rule { op: "GlobalAveragePool", check, backward: First(mean) },
    Rule { op: "ReduceL1", check, backward: First(l1) },
    Rule { op: "ReduceL2", check, backward: First(l2) },
    Rule { op: "ReduceLogSum", check, backward: First(log_sum) },
    Rule { op: "ReduceLogSumExp", check, backward: First(log_sum_exp) },
    Rule { op: "ReduceMax", check, backward: First(extremum) },
    Rule { op: "ReduceMin", check, backward: First(extremum) },
    Rule { op: "ReduceProd", check, backward: First(product) },
    Rule { op: "ReduceSumSquare", check, backward: First(sum_square) },
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

/// `value`, of the result's shape, in the shape that it has with the reduced dimensions kept.
fn kept(view: &View<'_>, value: &str, builder: &mut GraphBuilder) -> Result<String, Refusal> {
    let mut kept: Vec<Length> = view.shape(view.input(0)?)?.to_vec();
    for axis in axes(view)? {
        kept[axis] = Length::Fixed(1);
    }
    if view.shape(view.output()?)? == kept {
        return Ok(value.to_owned());
    }
    Ok(Formula::new(builder).reshape(value, &emit::target_shape(&kept)?))
}

/// `g · sign(x)`.
fn l1(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let gradient = kept(view, gradient, builder)?;
    let mut f = Formula::new(builder);
    let sign = f.of("Sign", view.input(0)?);
    Ok(vec![(0, f.mul(&gradient, &sign))])
}

/// `g · x / y`, 0 where all are 0.
fn l2(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let gradient = kept(view, gradient, builder)?;
    let norm = kept(view, view.output()?, builder)?;
    let mut f = Formula::new(builder);
    let norm = f.nonzero(&norm);
    let share = f.div(&gradient, &norm);
    Ok(vec![(0, f.mul(&share, view.input(0)?))])
}

/// `2 g x`.
fn sum_square(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let gradient = kept(view, gradient, builder)?;
    let mut f = Formula::new(builder);
    let double = f.times(2.0, view.input(0)?);
    Ok(vec![(0, f.mul(&gradient, &double))])
}

/// `g / Σ x = g exp(−y)`, for every number.
fn log_sum(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut f = Formula::new(builder);
    let negative = f.of("Neg", view.output()?);
    let inverse = f.of("Exp", &negative);
    let share = f.mul(gradient, &inverse);
    spread(view, &share, 1.0, builder)
}

/// `g · exp(x − y)`.
fn log_sum_exp(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let gradient = kept(view, gradient, builder)?;
    let y = kept(view, view.output()?, builder)?;
    let mut f = Formula::new(builder);
    let difference = f.sub(view.input(0)?, &y);
    let share = f.of("Exp", &difference);
    Ok(vec![(0, f.mul(&gradient, &share))])
}

/// `g` to the numbers that are the extremum, in equal parts, as in PyTorch.
fn extremum(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let gradient = kept(view, gradient, builder)?;
    let y = kept(view, view.output()?, builder)?;
    let over: Vec<i64> = axes(view)?.iter().map(|axis| *axis as i64).collect();
    let mut f = Formula::new(builder);
    let chosen = f.holds(view.input(0)?, "Equal", &y);
    // Over no dimension, every number is its own extremum.
    let count = if over.is_empty() { chosen.clone() } else { f.sum(&chosen, &over) };
    let share = f.div(&gradient, &count);
    Ok(vec![(0, f.mul(&share, &chosen))])
}

/// `g` times the product of all other numbers: with one 0 only that number gets any, with two none.
fn product(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let gradient = kept(view, gradient, builder)?;
    let x = view.input(0)?;
    let over: Vec<i64> = axes(view)?.iter().map(|axis| *axis as i64).collect();
    if over.is_empty() {
        return Ok(vec![(0, gradient)]);
    }
    let mut f = Formula::new(builder);
    let zero = f.is(x, "Equal", 0.0);
    let others = f.add(x, &zero);
    let zeros = f.sum(&zero, &over);
    let zeros_elsewhere = f.sub(&zeros, &zero);
    let counts = f.is(&zeros_elsewhere, "Less", 0.5);
    let mut settings = vec![attribute::int("keepdims", 1)];
    // The axes became an input in version 18.
    let product = if view.opset >= 18 {
        let over = builder.integers("axes", &over);
        builder.node("ReduceProd", &[&others, &over], settings)
    } else {
        settings.push(attribute::ints("axes", &over));
        builder.node("ReduceProd", &[&others], settings)
    };
    let mut f = Formula::new(builder);
    let rest = f.div(&product, &others);
    let rest = f.mul(&rest, &counts);
    Ok(vec![(0, f.mul(&gradient, &rest))])
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

    const MORE: [&str; 8] = [
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
    ];

    #[test]
    fn other_reductions_in_both_forms() {
        for op in MORE {
            for keep in [0, 1] {
                Case::new(&[2, 3, 2]).positive().check(op, |b, x| {
                    let settings =
                        vec![attribute::ints("axes", &[1, -1]), attribute::int("keepdims", keep)];
                    b.node(op, &[x], settings)
                });
                Case::new(&[2, 3, 2]).positive().opset(18).check(op, |b, x| {
                    let axes = b.integers("axes", &[2]);
                    b.node(op, &[x, &axes], vec![attribute::int("keepdims", keep)])
                });
            }
        }
        for op in ["ReduceL1", "ReduceL2", "ReduceProd", "ReduceMax"] {
            Case::new(&[5]).check(op, |b, x| b.node(op, &[x], vec![attribute::ints("axes", &[1])]));
        }
    }

    #[test]
    fn ties_and_zeros() {
        let at = |op: &'static str, values: &[f32]| {
            Case::new(&[3])
                .gradient_at(values, |b, x| b.node(op, &[x], vec![attribute::ints("axes", &[1])]))
        };
        let Some(equal) = at("ReduceMax", &[1.0, 1.0, 0.0]) else { return };
        assert_eq!(equal, [0.5, 0.5, 0.0]);
        assert_eq!(at("ReduceMin", &[1.0, 1.0, 1.0]).unwrap(), [1.0 / 3.0; 3]);
        assert_eq!(at("ReduceL1", &[0.0, -2.0, 1.0]).unwrap(), [0.0, -1.0, 1.0]);
        assert_eq!(at("ReduceL2", &[0.0; 3]).unwrap(), [0.0; 3]);
        assert_eq!(at("ReduceProd", &[0.0, 2.0, 3.0]).unwrap(), [6.0, 0.0, 0.0]);
        assert_eq!(at("ReduceProd", &[0.0, 0.0, 3.0]).unwrap(), [0.0; 3]);
    }
}
