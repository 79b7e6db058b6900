//! Pieces of graph that several rules append.

use rift_models::onnx::{GraphBuilder, attribute};

use super::error::Refusal;
use super::rule::View;
use crate::session::trace::Length;

/// The number that ONNX gives the type `float`.
pub(super) const FLOAT: i64 = rift_models::onnx::DataType::Float as i64;

/// Gives `gradient` the shape of `like`.
pub(super) fn reshape_like(
    view: &View<'_>,
    gradient: &str,
    like: &str,
    builder: &mut GraphBuilder,
) -> Result<String, Refusal> {
    let target = target_shape(view.shape(like)?)?;
    let target = builder.integers("shape", &target);
    Ok(builder.node("Reshape", &[gradient, &target], vec![]))
}

/// A shape as `Reshape` takes it, the batch left to be found out.
pub(super) fn target_shape(shape: &[Length]) -> Result<Vec<i64>, Refusal> {
    if shape.iter().filter(|l| l.fixed().is_none()).count() > 1 {
        return Err(Refusal::new("more than one dimension depends on the batch"));
    }
    Ok(shape.iter().map(|l| l.fixed().map_or(-1, |n| n as i64)).collect())
}

/// Sums `gradient`, of shape `from`, over what broadcasting repeated of `value`.
pub(super) fn unbroadcast(
    view: &View<'_>,
    gradient: String,
    from: &[Length],
    value: &str,
    builder: &mut GraphBuilder,
) -> Result<String, Refusal> {
    let to = view.shape(value)?;
    if from == to {
        return Ok(gradient);
    }
    let Some(extra) = from.len().checked_sub(to.len()) else {
        return Err(Refusal(format!("`{value}` has more dimensions than the result")));
    };
    let is_repeated = |axis: &usize| {
        *axis < extra || (to[axis - extra] == Length::Fixed(1) && from[*axis] != Length::Fixed(1))
    };
    let axes: Vec<i64> = (0..from.len()).filter(is_repeated).map(|a| a as i64).collect();
    let mut summed = gradient;
    if !axes.is_empty() {
        let axes = builder.integers("axes", &axes);
        let keep = vec![attribute::int("keepdims", 1)];
        summed = builder.node("ReduceSum", &[&summed, &axes], keep);
    }
    if extra > 0 {
        summed = reshape_like(view, &summed, value, builder)?;
    }
    Ok(summed)
}

/// `gradient` where `condition` holds, 0 elsewhere.
pub(super) fn masked(gradient: &str, condition: &str, builder: &mut GraphBuilder) -> String {
    let mask = builder.node("Cast", &[condition], vec![attribute::int("to", FLOAT)]);
    builder.node("Mul", &[gradient, &mask], vec![])
}

/// The sum over one axis, which stays with length 1.
pub(super) fn sum_over(value: &str, axis: i64, builder: &mut GraphBuilder) -> String {
    let axes = builder.integers("axes", &[axis]);
    builder.node("ReduceSum", &[value, &axes], vec![attribute::int("keepdims", 1)])
}

/// Formulas, written as they read.
pub(super) struct Formula<'b> {
    builder: &'b mut GraphBuilder,
}

impl<'b> Formula<'b> {
    pub(super) fn new(builder: &'b mut GraphBuilder) -> Self {
        Self { builder }
    }

    /// `op(a)`.
    pub(super) fn of(&mut self, op: &str, a: &str) -> String {
        self.builder.node(op, &[a], vec![])
    }

    pub(super) fn add(&mut self, a: &str, b: &str) -> String {
        self.builder.node("Add", &[a, b], vec![])
    }

    pub(super) fn sub(&mut self, a: &str, b: &str) -> String {
        self.builder.node("Sub", &[a, b], vec![])
    }

    pub(super) fn mul(&mut self, a: &str, b: &str) -> String {
        self.builder.node("Mul", &[a, b], vec![])
    }

    pub(super) fn div(&mut self, a: &str, b: &str) -> String {
        self.builder.node("Div", &[a, b], vec![])
    }

    /// `factor · a`.
    pub(super) fn times(&mut self, factor: f32, a: &str) -> String {
        let factor = self.builder.scalar("factor", factor);
        self.mul(&factor, a)
    }

    /// `a + offset`.
    pub(super) fn plus(&mut self, a: &str, offset: f32) -> String {
        let offset = self.builder.scalar("offset", offset);
        self.add(a, &offset)
    }

    /// `a` to a fixed power.
    pub(super) fn power(&mut self, a: &str, exponent: f32) -> String {
        let exponent = self.builder.scalar("exponent", exponent);
        self.builder.node("Pow", &[a, &exponent], vec![])
    }

    /// 1 where `a op b` holds, else 0.
    pub(super) fn holds(&mut self, a: &str, op: &str, b: &str) -> String {
        let condition = self.builder.node(op, &[a, b], vec![]);
        self.builder.node("Cast", &[&condition], vec![attribute::int("to", FLOAT)])
    }

    /// 1 where `a` is above, below or at `bound`, else 0.
    pub(super) fn is(&mut self, a: &str, op: &str, bound: f32) -> String {
        let bound = self.builder.scalar("bound", bound);
        self.holds(a, op, &bound)
    }

    /// `a` where the condition holds, else `b`.
    pub(super) fn choose(&mut self, condition: &str, a: &str, b: &str) -> String {
        self.builder.node("Where", &[condition, a, b], vec![])
    }

    /// The condition `a > bound`.
    pub(super) fn above(&mut self, a: &str, bound: f32) -> String {
        let bound = self.builder.scalar("bound", bound);
        self.builder.node("Greater", &[a, &bound], vec![])
    }

    /// `a`, with 1 in place of 0, for quotients of which the other part is 0 there.
    pub(super) fn nonzero(&mut self, a: &str) -> String {
        let zero = self.is(a, "Equal", 0.0);
        self.add(a, &zero)
    }

    /// The sum over `axes`, which stay with length 1.
    pub(super) fn sum(&mut self, a: &str, axes: &[i64]) -> String {
        let axes = self.builder.integers("axes", axes);
        self.builder.node("ReduceSum", &[a, &axes], vec![attribute::int("keepdims", 1)])
    }

    /// `a` in another shape.
    pub(super) fn reshape(&mut self, a: &str, shape: &[i64]) -> String {
        let shape = self.builder.integers("shape", shape);
        self.builder.node("Reshape", &[a, &shape], vec![])
    }
}
