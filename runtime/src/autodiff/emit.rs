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
