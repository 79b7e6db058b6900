//! Matrix products.

use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};
use crate::session::trace::Length;

pub(super) const RULES: [Rule; 2] = [
    Rule { op: "Gemm", check: check_gemm, backward: First(gemm) },
    Rule { op: "MatMul", check: check_matmul, backward: First(matmul) },
];

struct Gemm {
    alpha: f32,
    beta: f32,
    a_transposed: bool,
    b_transposed: bool,
}

impl Gemm {
    fn of(view: &View<'_>) -> Result<Self, Refusal> {
        let attributes = view.attributes();
        let flag = |name| Ok::<_, Refusal>(attributes.int(name)?.unwrap_or(0) != 0);
        Ok(Self {
            alpha: attributes.float("alpha")?.unwrap_or(1.0),
            beta: attributes.float("beta")?.unwrap_or(1.0),
            a_transposed: flag("transA")?,
            b_transposed: flag("transB")?,
        })
    }
}

fn check_gemm(view: &View<'_>) -> Result<(), Refusal> {
    Gemm::of(view)?;
    if view.is_active(2) {
        view.shape(view.input(2)?)?;
    }
    view.shape(view.output()?).map(|_| ())
}

/// `y = α A'B' + β C` gives `α g B'ᵀ`, `α A'ᵀ g` and `β g`, where a prime may transpose.
fn gemm(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let Gemm { alpha, beta, a_transposed, b_transposed } = Gemm::of(view)?;
    let mut product = |left: (&str, bool), right: (&str, bool)| {
        let attributes = vec![
            attribute::float("alpha", alpha),
            attribute::int("transA", i64::from(left.1)),
            attribute::int("transB", i64::from(right.1)),
        ];
        builder.node("Gemm", &[left.0, right.0], attributes)
    };
    let mut contributions = Vec::new();
    if view.is_active(0) {
        let b = view.input(1)?;
        contributions.push((
            0,
            if a_transposed {
                product((b, b_transposed), (gradient, true))
            } else {
                product((gradient, false), (b, !b_transposed))
            },
        ));
    }
    if view.is_active(1) {
        let a = view.input(0)?;
        contributions.push((
            1,
            if b_transposed {
                product((gradient, true), (a, a_transposed))
            } else {
                product((a, !a_transposed), (gradient, false))
            },
        ));
    }
    if view.is_active(2) {
        let beta = builder.scalar("beta", beta);
        let scaled = builder.node("Mul", &[gradient, &beta], vec![]);
        let from = view.shape(view.output()?)?;
        contributions.push((2, emit::unbroadcast(view, scaled, from, view.input(2)?, builder)?));
    }
    Ok(contributions)
}

fn check_matmul(view: &View<'_>) -> Result<(), Refusal> {
    for slot in [0, 1] {
        let value = view.input(slot)?;
        if view.shape(value)?.len() < 2 && view.is_active(slot) {
            return Err(Refusal(format!("`{value}` is a vector, expected a matrix")));
        }
    }
    view.shape(view.output()?).map(|_| ())
}

/// `g Bᵀ` and `Aᵀ g`, summed over the dimensions that were broadcast. A vector is a row on the left
/// and a column on the right.
fn matmul(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut contributions = Vec::new();
    for (slot, other) in [(0, 1), (1, 0)] {
        if !view.is_active(slot) {
            continue;
        }
        let rank = view.shape(view.input(other)?)?.len();
        let is_vector = rank < 2;
        let [gradient, turned] = if is_vector {
            let (axis, shape) = if slot == 0 { (-1, [1, -1]) } else { (-2, [-1, 1]) };
            let axes = builder.integers("axes", &[axis]);
            let gradient = builder.node("Unsqueeze", &[gradient, &axes], vec![]);
            [gradient, emit::Formula::new(builder).reshape(view.input(other)?, &shape)]
        } else {
            let mut order: Vec<i64> = (0..rank as i64).collect();
            order.swap(rank - 1, rank - 2);
            let order = vec![attribute::ints("perm", &order)];
            let turned = builder.node("Transpose", &[view.input(other)?], order);
            [gradient.to_owned(), turned]
        };
        let inputs = if slot == 0 { [&gradient, &turned] } else { [&turned, &gradient] };
        let product = builder.node("MatMul", &inputs.map(String::as_str), vec![]);
        let value = view.input(slot)?;
        let from = product_shape(view, value, is_vector)?;
        contributions.push((slot, emit::unbroadcast(view, product, &from, value, builder)?));
    }
    Ok(contributions)
}

/// The shape of the product before the sum: the result's leading dimensions, the value's matrix.
fn product_shape(view: &View<'_>, value: &str, is_by_vector: bool) -> Result<Vec<Length>, Refusal> {
    let (result, value) = (view.shape(view.output()?)?, view.shape(value)?);
    let leading = result.len() - if is_by_vector { 1 } else { 2 };
    Ok([&result[..leading], &value[value.len() - 2..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::testing::{Case, weights};

    #[test]
    fn gemm_with_every_setting() {
        for b_transposed in [0, 1] {
            for (alpha, beta) in [(1.0, 1.0), (0.5, 2.0)] {
                Case::new(&[4]).check("Gemm", |b, x| {
                    let w =
                        b.array("w", &weights(if b_transposed == 1 { &[3, 4] } else { &[4, 3] }));
                    let c = b.floats("c", &[0.1, 0.2, 0.3]);
                    let settings = vec![
                        attribute::int("transB", b_transposed),
                        attribute::float("alpha", alpha),
                        attribute::float("beta", beta),
                    ];
                    b.node("Gemm", &[x, &w, &c], settings)
                });
            }
        }
    }

    #[test]
    fn gemm_on_the_other_side() {
        // W xᵀ, and xᵀᵀ W: the image stands second, or transposed.
        for (a, b_transposed) in [([3, 4], 1), ([4, 3], 1)] {
            Case::new(&[4]).check("Gemm right", |b, x| {
                let w = b.array("w", &weights(&a));
                let transposed = vec![
                    attribute::int("transA", i64::from(a == [4, 3])),
                    attribute::int("transB", b_transposed),
                ];
                let y = b.node("Gemm", &[&w, x], transposed);
                b.node("Transpose", &[&y], vec![])
            });
        }
        for b_transposed in [0, 1] {
            Case::new(&[4]).check("Gemm turned", |b, x| {
                let turned = b.node("Transpose", &[x], vec![]);
                let w = b.array("w", &weights(if b_transposed == 1 { &[3, 4] } else { &[4, 3] }));
                let settings =
                    vec![attribute::int("transA", 1), attribute::int("transB", b_transposed)];
                b.node("Gemm", &[&turned, &w], settings)
            });
        }
        Case::new(&[3]).check("Gemm with itself", |b, x| {
            let w = b.array("w", &weights(&[3, 3]));
            b.node("Gemm", &[x, &w, x], vec![attribute::float("beta", 0.5)])
        });
    }

    #[test]
    fn matmul_on_either_side_and_with_itself() {
        Case::new(&[4]).check("MatMul", |b, x| {
            let w = b.array("w", &weights(&[4, 3]));
            b.node("MatMul", &[x, &w], vec![])
        });
        Case::new(&[2, 4]).check("MatMul batched", |b, x| {
            let w = b.array("w", &weights(&[4, 3]));
            b.node("MatMul", &[x, &w], vec![])
        });
        Case::new(&[2, 4]).check("MatMul left", |b, x| {
            let w = b.array("w", &weights(&[3, 2]));
            b.node("MatMul", &[&w, x], vec![])
        });
        Case::new(&[2, 4]).check("MatMul by a column", |b, x| {
            let v = b.array("v", &weights(&[4]));
            b.node("MatMul", &[x, &v], vec![])
        });
        Case::new(&[2, 4]).check("MatMul of a row", |b, x| {
            let v = b.array("v", &weights(&[2]));
            b.node("MatMul", &[&v, x], vec![])
        });
        Case::new(&[3, 3]).check("MatMul squared", |b, x| b.node("MatMul", &[x, x], vec![]));
    }
}
