//! Frames around images.

use rift_models::onnx::GraphBuilder;

use super::selection::{Axis, put_back_whole};
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] = [Rule { op: "Pad", check: frames, backward: First(pad) }];

/// What `Pad` adds before and after each dimension; negative where it cuts.
fn frame(view: &View<'_>) -> Result<Vec<i64>, Refusal> {
    view.only_first_is_active()?;
    let rank = view.shape(view.input(0)?)?.len();
    let pads = view.integers(1)?.ok_or_else(|| Refusal::new("input 1 is missing"))?;
    let axes: Vec<usize> = match view.integers(3)? {
        Some(axes) => axes.iter().map(|a| View::axis(*a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Refusal(format!("{} pads, expected {}", pads.len(), 2 * axes.len())));
    }
    let mut frame = vec![0; 2 * rank];
    for (position, axis) in axes.iter().enumerate() {
        frame[*axis] = pads[position];
        frame[rank + axis] = pads[axes.len() + position];
    }
    Ok(frame)
}

/// Where the number at `position`, counted from the first of `length`, is taken from.
fn source(mode: &str, position: i64, length: i64) -> Option<i64> {
    Some(match mode {
        "edge" => position.clamp(0, length - 1),
        "wrap" => position.rem_euclid(length),
        "reflect" if length == 1 => 0,
        "reflect" => {
            let period = 2 * (length - 1);
            let within = position.rem_euclid(period);
            within.min(period - within)
        }
        _ => return None,
    })
}

fn mode<'a>(view: &View<'a>) -> Result<&'a str, Refusal> {
    Ok(view.attributes().string("mode")?.unwrap_or("constant"))
}

/// The dimensions that are framed by their own numbers, and which.
fn copies(view: &View<'_>) -> Result<Vec<(Axis, Vec<usize>)>, Refusal> {
    let (mode, frame) = (mode(view)?, frame(view)?);
    let rank = frame.len() / 2;
    let mut copies = Vec::new();
    for axis in (0..rank).filter(|axis| frame[*axis] != 0 || frame[rank + axis] != 0) {
        let length = view.fixed(view.input(0)?, axis)?;
        // What is cut is cut first, and so not copied.
        let (begin, end) = (frame[axis], frame[rank + axis]);
        let first = (-begin).max(0);
        let left = length as i64 - first - (-end).max(0);
        let picked: Option<Vec<usize>> = (-begin.max(0)..left + end.max(0))
            .map(|position| Some((first + source(mode, position, left)?) as usize))
            .collect();
        let expected = "constant, reflect, edge or wrap";
        let picked =
            picked.ok_or_else(|| Refusal::from(view.attributes().wrong("mode", expected, mode)))?;
        copies.push((Axis { number: axis, rank, length }, picked));
    }
    Ok(copies)
}

fn frames(view: &View<'_>) -> Result<(), Refusal> {
    if mode(view)? == "constant" {
        return frame(view).map(|_| ());
    }
    copies(view).map(|_| ())
}

/// What was added is cut, what was cut had no influence; what was copied collects what its copies
/// get.
fn pad(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    if mode(view)? != "constant" {
        let mut gradient = gradient.to_owned();
        for (axis, picked) in copies(view)? {
            gradient = put_back_whole(&gradient, &axis, &picked, builder);
        }
        return Ok(vec![(0, gradient)]);
    }
    let reversed: Vec<i64> = frame(view)?.iter().map(|p| -p).collect();
    let pads = builder.integers("pads", &reversed);
    Ok(vec![(0, builder.node("Pad", &[gradient, &pads], vec![]))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn framing_and_cutting() {
        for pads in [[0, 0, 1, 2, 0, 0, 3, 0], [0, 1, -1, 0, 0, 0, 1, -1]] {
            Case::new(&[2, 3, 3]).check("Pad", |b, x| {
                let pads = b.integers("pads", &pads);
                let value = b.scalar("value", 0.7);
                b.node("Pad", &[x, &pads, &value], vec![])
            });
        }
        Case::new(&[2, 3, 3]).opset(18).check("Pad axes", |b, x| {
            let (pads, axes) = (b.integers("pads", &[1, 2]), b.integers("axes", &[-1]));
            b.node("Pad", &[x, &pads, "", &axes], vec![])
        });
    }

    #[test]
    fn framing_by_copies() {
        for (mode, opset) in [("reflect", 17), ("edge", 17), ("wrap", 19)] {
            for pads in [[0, 0, 1, 2, 0, 0, 2, 0], [0, 0, -1, 0, 0, 0, 1, 2]] {
                Case::new(&[2, 3, 4]).opset(opset).check(mode, |b, x| {
                    let pads = b.integers("pads", &pads);
                    b.node("Pad", &[x, &pads], vec![attribute::string("mode", mode)])
                });
            }
        }
    }

    #[test]
    fn of_old_models() {
        Case::new(&[2, 3, 3]).opset(9).check("Pad 9", |b, x| {
            let pads = attribute::ints("pads", &[0, 0, 1, 0, 0, 0, 0, 2]);
            b.node("Pad", &[x], vec![pads, attribute::float("value", 0.5)])
        });
    }
}
