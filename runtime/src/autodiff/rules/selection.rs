//! Operators that pick, repeat and divide.

use rift_models::onnx::{GraphBuilder, attribute};

use super::pooling::SCATTER_ADDS;
use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{
    Backward::{Every, First},
    Contributions, Gradients, Rule, View,
};
use crate::session::trace::Length;

pub(super) const RULES: [Rule; 5] = [
    Rule { op: "Expand", check: expands, backward: First(expand) },
    Rule { op: "Gather", check: gathers, backward: First(gather) },
    Rule { op: "Slice", check: slices, backward: First(slice) },
    Rule { op: "Split", check: splits, backward: Every(split) },
    Rule { op: "Tile", check: tiles, backward: First(tile) },
];

/// The most numbers that the reverse of a `Gather` stores, 128 MiB of them.
const MOST_NUMBERS: usize = 1 << 24;

/// A dimension of which positions are picked.
pub(super) struct Axis {
    pub(super) number: usize,
    pub(super) rank: usize,
    pub(super) length: usize,
}

/// The reverse of picking the positions `picked` along an axis: parts whose sum is the gradient.
///
/// Each part gathers; a position that has been picked `n` times is in `n` parts, and one that has
/// not been picked gets a 0 that is appended to the gradient.
pub(super) fn put_back(
    gradient: &str,
    axis: &Axis,
    picked: &[usize],
    builder: &mut GraphBuilder,
) -> Vec<String> {
    let end = picked.first().map_or(0, |first| first + picked.len());
    if picked.windows(2).all(|pair| pair[1] == pair[0] + 1) && end <= axis.length {
        let mut pads = vec![0; 2 * axis.rank];
        pads[axis.number] = picked.first().map_or(0, |first| *first as i64);
        pads[axis.rank + axis.number] = (axis.length - end) as i64;
        let pads = builder.integers("pads", &pads);
        return vec![builder.node("Pad", &[gradient, &pads], vec![])];
    }
    let nothing = picked.len();
    let mut parts: Vec<Vec<i64>> = Vec::new();
    for (from, to) in picked.iter().enumerate() {
        let free = parts.iter().position(|part| part[*to] == nothing as i64);
        let part = free.unwrap_or_else(|| {
            parts.push(vec![nothing as i64; axis.length]);
            parts.len() - 1
        });
        parts[part][*to] = from as i64;
    }
    let mut padded = None;
    let mut gathered = Vec::new();
    for part in parts {
        let mut source = gradient.to_owned();
        if part.contains(&(nothing as i64)) {
            source = padded
                .get_or_insert_with(|| {
                    let mut pads = vec![0; 2 * axis.rank];
                    pads[axis.rank + axis.number] = 1;
                    let pads = builder.integers("pads", &pads);
                    builder.node("Pad", &[gradient, &pads], vec![])
                })
                .clone();
        }
        let positions = builder.integers("positions", &part);
        let settings = vec![attribute::int("axis", axis.number as i64)];
        gathered.push(builder.node("Gather", &[&source, &positions], settings));
    }
    gathered
}

/// As [`put_back`], added up.
pub(super) fn put_back_whole(
    gradient: &str,
    axis: &Axis,
    picked: &[usize],
    builder: &mut GraphBuilder,
) -> String {
    let mut parts = put_back(gradient, axis, picked, builder).into_iter();
    let first = parts.next().unwrap_or_else(|| gradient.to_owned());
    parts.fold(first, |sum, part| builder.node("Add", &[&sum, &part], vec![]))
}

fn expands(view: &View<'_>) -> Result<(), Refusal> {
    view.shape(view.output()?)?;
    view.shape(view.input(0)?).map(|_| ())
}

/// The sum over what was repeated.
fn expand(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let from = view.shape(view.output()?)?;
    let sum = emit::unbroadcast(view, gradient.to_owned(), from, view.input(0)?, builder)?;
    Ok(vec![(0, sum)])
}

/// The dimension and the positions that `Gather` picks.
fn picked(view: &View<'_>) -> Result<(Axis, Vec<usize>), Refusal> {
    view.only_first_is_active()?;
    let input = view.input(0)?;
    let rank = view.shape(input)?.len();
    let axis = View::axis(view.attributes().int("axis")?.unwrap_or(0), rank)?;
    let length = view.fixed(input, axis)?;
    let indices = view.integers(1)?.unwrap_or_default();
    let position = |index: &i64| View::axis(*index, length);
    let picked = indices.iter().map(position).collect::<Result<_, _>>()?;
    Ok((Axis { number: axis, rank, length }, picked))
}

/// The shape of the picked values, as many as there are along one dimension.
fn row_shape(view: &View<'_>, axis: &Axis, count: usize) -> Result<Vec<i64>, Refusal> {
    let mut shape = view.shape(view.input(0)?)?.to_vec();
    shape[axis.number] = Length::Fixed(count);
    emit::target_shape(&shape)
}

/// Whether all numbers of the batch lie in one row, from which positions are picked that follow
/// the number of images: so an exporter writes a view with strides.
fn picks_from_row(view: &View<'_>) -> Result<bool, Refusal> {
    let row = view.shape(view.input(0)?)?;
    Ok(row.len() == 1 && row[0].fixed().is_none() && view.opset >= SCATTER_ADDS)
}

fn gathers(view: &View<'_>) -> Result<(), Refusal> {
    if picks_from_row(view)? {
        return view.only_first_is_active();
    }
    let (axis, picked) = picked(view)?;
    let mut counts = vec![0usize; axis.length];
    for &position in &picked {
        counts[position] += 1;
    }
    let most = counts.into_iter().max().unwrap_or(0);
    if most.saturating_mul(axis.length) > MOST_NUMBERS {
        return Err(Refusal(format!("it picks one of {} positions {most} times", axis.length)));
    }
    row_shape(view, &axis, picked.len()).map(|_| ())
}

/// What was picked goes back to where it was.
fn gather(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    if picks_from_row(view)? {
        let shape = builder.node("Shape", &[view.input(0)?], vec![]);
        let zeros = builder.node("ConstantOfShape", &[&shape], vec![]);
        let mut f = emit::Formula::new(builder);
        let places = f.reshape(view.input(1)?, &[-1]);
        let updates = f.reshape(gradient, &[-1]);
        let settings = vec![attribute::int("axis", 0), attribute::string("reduction", "add")];
        let sum = builder.node("ScatterElements", &[&zeros, &places, &updates], settings);
        return Ok(vec![(0, sum)]);
    }
    let (axis, picked) = picked(view)?;
    let shape = row_shape(view, &axis, picked.len())?;
    let shape = builder.integers("shape", &shape);
    let row = builder.node("Reshape", &[gradient, &shape], vec![]);
    let parts = put_back(&row, &axis, &picked, builder);
    Ok(parts.into_iter().map(|part| (0, part)).collect())
}

/// The dimensions that `Slice` shortens and the positions that stay.
fn kept(view: &View<'_>) -> Result<Vec<(Axis, Vec<usize>)>, Refusal> {
    view.only_first_is_active()?;
    let input = view.input(0)?;
    let (shape, result) = (view.shape(input)?, view.shape(view.output()?)?);
    let rank = shape.len();
    let missing = |slot: usize| Refusal(format!("input {slot} is missing"));
    let starts = view.integers(1)?.ok_or_else(|| missing(1))?;
    let ends = view.integers(2)?.ok_or_else(|| missing(2))?;
    let axes: Vec<i64> = match view.integers(3)? {
        Some(axes) => axes.to_vec(),
        None => (0..starts.len() as i64).collect(),
    };
    let steps = view.integers(4)?;
    if ends.len() != starts.len() || axes.len() != starts.len() {
        return Err(Refusal::new("as many starts, ends and axes are expected"));
    }
    let mut kept = Vec::new();
    for (position, axis) in axes.iter().enumerate() {
        let axis = View::axis(*axis, rank)?;
        let step = steps.and_then(|s| s.get(position)).copied().unwrap_or(1);
        if step == 1 && shape[axis] == result[axis] {
            continue;
        }
        let length = view.fixed(input, axis)?;
        let count = view.fixed(view.output()?, axis)?;
        let (n, start) = (length as i64, starts[position]);
        let first = if start < 0 { start.saturating_add(n) } else { start };
        let first = first.clamp(0, if step < 0 { n - 1 } else { n });
        let picked = (0..count as i64).map(|k| View::axis(first + k * step, length));
        kept.push((Axis { number: axis, rank, length }, picked.collect::<Result<_, _>>()?));
    }
    Ok(kept)
}

fn slices(view: &View<'_>) -> Result<(), Refusal> {
    kept(view).map(|_| ())
}

/// What stayed goes back to where it was, dimension after dimension.
fn slice(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let mut gradient = gradient.to_owned();
    for (axis, picked) in kept(view)? {
        gradient = put_back_whole(&gradient, &axis, &picked, builder);
    }
    Ok(vec![(0, gradient)])
}

/// The dimension that `Split` divides, which must not be the batch.
fn parts(view: &View<'_>) -> Result<usize, Refusal> {
    let input = view.input(0)?;
    let axis = View::axis(view.attributes().int("axis")?.unwrap_or(0), view.shape(input)?.len())?;
    view.fixed(input, axis)?;
    Ok(axis)
}

fn splits(view: &View<'_>) -> Result<(), Refusal> {
    parts(view).map(|_| ())
}

/// The parts' gradients, joined again; a part that nothing reads counts 0.
fn split(
    view: &View<'_>,
    gradients: &Gradients,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let axis = parts(view)?;
    let mut joined = Vec::new();
    for (output, gradient) in view.node.output.iter().zip(gradients) {
        joined.push(gradient.clone().unwrap_or_else(|| {
            let zero = builder.scalar("zero", 0.0);
            // Nothing else has the shape for certain; and what is not a number must not be here.
            let shape = builder.node("Shape", &[output], vec![]);
            builder.node("Expand", &[&zero, &shape], vec![])
        }));
    }
    let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
    let settings = vec![attribute::int("axis", axis as i64)];
    Ok(vec![(0, builder.node("Concat", &joined, settings))])
}

/// How often each dimension is repeated.
fn repeats(view: &View<'_>) -> Result<Vec<i64>, Refusal> {
    view.only_first_is_active()?;
    let repeats = view.integers(1)?.ok_or_else(|| Refusal::new("input 1 is missing"))?;
    let shape = view.shape(view.input(0)?)?;
    if repeats.len() != shape.len() || repeats.iter().any(|r| *r < 1) {
        return Err(Refusal::new("a number above 0 for each dimension is expected"));
    }
    emit::target_shape(shape)?;
    Ok(repeats.to_vec())
}

fn tiles(view: &View<'_>) -> Result<(), Refusal> {
    repeats(view).map(|_| ())
}

/// The sum over the repetitions.
fn tile(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let repeats = repeats(view)?;
    let shape = emit::target_shape(view.shape(view.input(0)?)?)?;
    let apart: Vec<i64> = repeats.iter().zip(&shape).flat_map(|(r, n)| [*r, *n]).collect();
    let axes: Vec<i64> = (0..repeats.len() as i64).map(|axis| 2 * axis).collect();
    let mut f = emit::Formula::new(builder);
    let apart = f.reshape(gradient, &apart);
    let sum = f.sum(&apart, &axes);
    Ok(vec![(0, f.reshape(&sum, &shape))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::testing::Case;

    #[test]
    fn repeating() {
        Case::new(&[2, 1, 3]).check("Expand", |b, x| {
            let shape = b.integers("shape", &[1, 2, 4, 1]);
            b.node("Expand", &[x, &shape], vec![])
        });
        Case::new(&[2, 3]).check("Tile", |b, x| {
            let repeats = b.integers("repeats", &[1, 3, 2]);
            b.node("Tile", &[x, &repeats], vec![])
        });
    }

    #[test]
    fn picking_one_several_and_the_same_again() {
        let whole = |shape: &[usize], values: &[i64]| {
            ndarray::ArrayD::from_shape_vec(ndarray::IxDyn(shape), values.to_vec()).unwrap()
        };
        for (shape, values) in [
            (&[][..], &[1][..]),
            (&[], &[-1]),
            (&[1], &[0]),
            (&[2], &[1, 2]),
            (&[3], &[2, 0, 1]),
            (&[4], &[1, 1, 0, 1]),
            (&[2, 2], &[2, 0, -1, 0]),
        ] {
            for axis in [1, -1] {
                Case::new(&[3, 2, 3]).check("Gather", |b, x| {
                    let picked = b.array("picked", &whole(shape, values));
                    b.node("Gather", &[x, &picked], vec![attribute::int("axis", axis)])
                });
            }
        }
    }

    #[test]
    fn picking_thousands() {
        let places: Vec<i64> = (0..5003).map(|at| at * 7919 % 60).collect();
        Case::new(&[60]).check("Gather", |b, x| {
            let picked = b.integers("picked", &places);
            b.node("Gather", &[x, &picked], vec![attribute::int("axis", 1)])
        });
    }

    #[test]
    fn picking_from_the_row_of_the_whole_batch() {
        Case::new(&[2, 3]).check("Gather from a row", |b, x| {
            let all = b.integers("all", &[-1]);
            let row = b.node("Reshape", &[x, &all], vec![]);
            let size = b.node("Size", &[x], vec![]);
            let [zero, one] = [0, 1].map(|n| b.array("n", &ndarray::arr0(n as i64)));
            let places = b.node("Range", &[&zero, &size, &one], vec![]);
            let picked = b.node("Gather", &[&row, &places], vec![]);
            let back = b.integers("back", &[-1, 6]);
            b.node("Reshape", &[&picked, &back], vec![])
        });
    }

    #[test]
    fn cutting_with_steps_and_from_the_end() {
        for (starts, ends, axes, steps) in [
            (&[1, 0][..], &[3, 2][..], &[2, 1][..], &[1, 1][..]),
            (&[0, -3], &[i64::MAX, -1], &[0, -1], &[1, 1]),
            (&[0], &[100], &[3], &[2]),
            (&[-1], &[i64::MIN], &[2], &[-1]),
            (&[10], &[0], &[3], &[-3]),
        ] {
            Case::new(&[2, 3, 5]).check("Slice", |b, x| {
                let inputs = [starts, ends, axes, steps].map(|row| b.integers("row", row));
                let [starts, ends, axes, steps] = inputs.each_ref().map(String::as_str);
                b.node("Slice", &[x, starts, ends, axes, steps], vec![])
            });
        }
        Case::new(&[2, 3, 5]).check("Slice without axes", |b, x| {
            let (starts, ends) =
                (b.integers("starts", &[0, 1]), b.integers("ends", &[i64::MAX, 2]));
            b.node("Slice", &[x, &starts, &ends], vec![])
        });
    }

    #[test]
    fn dividing_and_using_some_of_the_parts() {
        for opset in [17, 18] {
            Case::new(&[6, 2]).opset(opset).check("Split", |b, x| {
                let lengths = b.integers("lengths", &[1, 2, 3]);
                let axis = vec![attribute::int("axis", 1)];
                let parts = b.node_with_outputs("Split", &[x, &lengths], axis, 3);
                let axes = b.integers("axes", &[1]);
                let sum = b.node("ReduceSum", &[&parts[2], &axes], vec![]);
                b.node("Mul", &[&parts[0], &sum], vec![])
            });
        }
        Case::new(&[4, 2]).check("Split evenly", |b, x| {
            let axis = vec![attribute::int("axis", -2)];
            let parts = b.node_with_outputs("Split", &[x], axis, 2);
            b.node("Mul", &[&parts[0], &parts[1]], vec![])
        });
    }
}
