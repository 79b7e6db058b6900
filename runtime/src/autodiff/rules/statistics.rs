//! Normalisation by an image's own statistics.

use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit::{self, Formula};
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 5] = [
    Rule { op: "GroupNormalization", check: check_groups, backward: First(groups) },
    Rule { op: "InstanceNormalization", check: check_instance, backward: First(instance) },
    Rule { op: "LayerNormalization", check: check_layer, backward: First(layer) },
    Rule { op: "LpNormalization", check: check_norm, backward: First(norm) },
    Rule { op: "RMSNormalization", check: check_layer, backward: First(root_mean_square) },
];

/// Over what is normalised, and how.
struct Statistics<'s> {
    axes: &'s [i64],
    count: usize,
    epsilon: f32,
    centred: bool,
}

/// `x̂ = (x − mean) r`, `r = 1 / √(var + ε)` gives `r (h − mean(h) − x̂ · mean(h x̂))` where `h` is the
/// gradient of `x̂`. What is not centred has no means of `x` and of `h`.
fn normalised(x: &str, h: &str, how: &Statistics<'_>, builder: &mut GraphBuilder) -> String {
    let share = 1.0 / how.count as f32;
    let mut f = Formula::new(builder);
    let mean = |f: &mut Formula<'_>, value: &str| {
        let sum = f.sum(value, how.axes);
        f.times(share, &sum)
    };
    let mut centred = x.to_owned();
    let mut direct = h.to_owned();
    if how.centred {
        let middle = mean(&mut f, x);
        centred = f.sub(x, &middle);
        let middle = mean(&mut f, h);
        direct = f.sub(h, &middle);
    }
    let square = f.mul(&centred, &centred);
    let variance = mean(&mut f, &square);
    let variance = f.plus(&variance, how.epsilon);
    let deviation = f.of("Sqrt", &variance);
    let unit = f.div(&centred, &deviation);
    let product = f.mul(h, &unit);
    let product = mean(&mut f, &product);
    let along = f.mul(&unit, &product);
    let rest = f.sub(&direct, &along);
    f.div(&rest, &deviation)
}

fn epsilon(view: &View<'_>) -> Result<f32, Refusal> {
    Ok(view.attributes().float("epsilon")?.unwrap_or(1e-5))
}

/// The last dimensions, from `axis` on, and how many numbers they hold.
fn last_axes(view: &View<'_>) -> Result<(Vec<i64>, usize), Refusal> {
    let input = view.input(0)?;
    let rank = view.shape(input)?.len();
    let axis = View::axis(view.attributes().int("axis")?.unwrap_or(-1), rank)?;
    let mut count = 1;
    for axis in axis..rank {
        count *= view.fixed(input, axis)?;
    }
    Ok(((axis as i64..rank as i64).collect(), count))
}

fn check_layer(view: &View<'_>) -> Result<(), Refusal> {
    view.only_first_is_active()?;
    epsilon(view)?;
    last_axes(view).map(|_| ())
}

fn over_last(
    view: &View<'_>,
    gradient: &str,
    centred: bool,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let (axes, count) = last_axes(view)?;
    let how = Statistics { axes: &axes, count, epsilon: epsilon(view)?, centred };
    let h = Formula::new(builder).mul(gradient, view.input(1)?);
    Ok(vec![(0, normalised(view.input(0)?, &h, &how, builder))])
}

/// Over the last dimensions (Ba et al. 2016).
fn layer(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    over_last(view, gradient, true, builder)
}

/// Over the last dimensions, without a mean (Zhang & Sennrich 2019).
fn root_mean_square(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    over_last(view, gradient, false, builder)
}

fn check_instance(view: &View<'_>) -> Result<(), Refusal> {
    view.only_first_is_active()?;
    epsilon(view)?;
    view.spatial(view.input(0)?).map(|_| ())
}

/// Over the positions of a channel (Ulyanov et al. 2016).
fn instance(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let input = view.input(0)?;
    let lengths = view.spatial(input)?;
    let rank = lengths.len() as i64 + 2;
    let mut channel = vec![1; lengths.len() + 1];
    channel[0] = -1;
    let axes: Vec<i64> = (2..rank).collect();
    let count = lengths.iter().product();
    let how = Statistics { axes: &axes, count, epsilon: epsilon(view)?, centred: true };
    let mut f = Formula::new(builder);
    let scale = f.reshape(view.input(1)?, &channel);
    let h = f.mul(gradient, &scale);
    Ok(vec![(0, normalised(input, &h, &how, builder))])
}

/// The number of groups and of channels.
fn group_count(view: &View<'_>) -> Result<(usize, usize), Refusal> {
    view.only_first_is_active()?;
    let channels = view.fixed(view.input(0)?, 1)?;
    view.spatial(view.input(0)?)?;
    let groups = view.attributes().int("num_groups")?.and_then(|n| usize::try_from(n).ok());
    let groups = groups.filter(|n| *n > 0 && channels % n == 0);
    let groups =
        groups.ok_or_else(|| Refusal(format!("its groups do not divide {channels} channels")))?;
    Ok((groups, channels))
}

fn check_groups(view: &View<'_>) -> Result<(), Refusal> {
    epsilon(view)?;
    group_count(view).map(|_| ())
}

/// Over the positions of some channels, with a scale a channel (Wu & He 2018).
fn groups(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let (groups, channels) = group_count(view)?;
    let input = view.input(0)?;
    let positions: usize = view.spatial(input)?.iter().product();
    let (in_group, groups) = (channels / groups, groups as i64);
    let shape = [-1, groups, in_group as i64, positions as i64];
    let scale_shape = [groups, in_group as i64, 1];
    let count = in_group * positions;
    let how = Statistics { axes: &[2, 3], count, epsilon: epsilon(view)?, centred: true };
    let mut f = Formula::new(builder);
    let x = f.reshape(input, &shape);
    let g = f.reshape(gradient, &shape);
    let scale = f.reshape(view.input(1)?, &scale_shape);
    let h = f.mul(&g, &scale);
    let whole = normalised(&x, &h, &how, builder);
    Ok(vec![(0, emit::reshape_like(view, &whole, input, builder)?)])
}

/// The axis and the exponent.
fn norm_settings(view: &View<'_>) -> Result<(i64, i64), Refusal> {
    let rank = view.shape(view.input(0)?)?.len();
    let axis = View::axis(view.attributes().int("axis")?.unwrap_or(-1), rank)?;
    match view.attributes().int("p")?.unwrap_or(2) {
        p @ (1 | 2) => Ok((axis as i64, p)),
        other => Err(view.attributes().wrong("p", "1 or 2", &other.to_string()).into()),
    }
}

fn check_norm(view: &View<'_>) -> Result<(), Refusal> {
    norm_settings(view).map(|_| ())
}

/// `y = x / ‖x‖` gives `(g − u Σ g y) / ‖x‖`, where `u` is `y` for p = 2 and `sign(x)` for p = 1.
fn norm(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let (axis, p) = norm_settings(view)?;
    let (x, y) = (view.input(0)?, view.output()?);
    let mut f = Formula::new(builder);
    let size = if p == 1 { f.of("Abs", x) } else { f.mul(x, x) };
    let mut length = f.sum(&size, &[axis]);
    if p == 2 {
        length = f.of("Sqrt", &length);
    }
    let length = f.nonzero(&length);
    let product = f.mul(gradient, y);
    let product = f.sum(&product, &[axis]);
    let direction = if p == 1 { f.of("Sign", x) } else { y.to_owned() };
    let along = f.mul(&direction, &product);
    let rest = f.sub(gradient, &along);
    Ok(vec![(0, f.div(&rest, &length))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::{Case, weights};

    #[test]
    fn over_the_last_dimensions() {
        for (op, opset) in [("LayerNormalization", 17), ("RMSNormalization", 23)] {
            for (axis, shape) in [(-1, &[5][..]), (2, &[3, 5]), (1, &[2, 3, 5])] {
                Case::new(&[2, 3, 5]).opset(opset).check(op, |b, x| {
                    let scale = b.array("scale", &weights(shape));
                    let settings =
                        vec![attribute::int("axis", axis), attribute::float("epsilon", 0.01)];
                    b.node(op, &[x, &scale], settings)
                });
            }
        }
        Case::new(&[2, 5]).check("LayerNormalization with a bias", |b, x| {
            let scale = b.array("scale", &weights(&[5]));
            b.node("LayerNormalization", &[x, &scale, &scale], vec![])
        });
    }

    #[test]
    fn over_positions_and_groups() {
        Case::new(&[2, 3, 4]).check("InstanceNormalization", |b, x| {
            let scale = b.floats("scale", &[1.5, -0.5]);
            b.node("InstanceNormalization", &[x, &scale, &scale], vec![])
        });
        for (opset, count) in [(18, 2), (21, 4)] {
            Case::new(&[4, 2, 3]).opset(opset).check("GroupNormalization", |b, x| {
                let scale = b.array("scale", &weights(&[count]));
                let settings = vec![attribute::int("num_groups", 2)];
                b.node("GroupNormalization", &[x, &scale, &scale], settings)
            });
        }
    }

    #[test]
    fn by_a_norm() {
        for (p, axis) in [(1, 1), (2, 1), (2, -1)] {
            Case::new(&[3, 4]).check("LpNormalization", |b, x| {
                let settings = vec![attribute::int("p", p), attribute::int("axis", axis)];
                b.node("LpNormalization", &[x], settings)
            });
        }
    }
}
