//! Blocks of positions as channels and back.

use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::emit::Formula;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 2] = [
    Rule { op: "DepthToSpace", check: spreads, backward: First(depth_to_space) },
    Rule { op: "SpaceToDepth", check: gathers, backward: First(space_to_depth) },
];

struct Blocks {
    side: i64,
    channels: i64,
    height: i64,
    width: i64,
    depth_first: bool,
}

impl Blocks {
    /// The blocks of `image`, the value with the fewer channels.
    fn of(view: &View<'_>, image: &str) -> Result<Self, Refusal> {
        let attributes = view.attributes();
        let side = attributes.int("blocksize")?.filter(|side| *side > 0);
        let side = side.ok_or_else(|| Refusal::new("attribute `blocksize` is missing"))?;
        let length = |axis: usize| view.fixed(image, axis).map(|n| n as i64);
        Ok(Self {
            side,
            channels: length(1)?,
            height: length(2)? / side,
            width: length(3)? / side,
            depth_first: attributes.string("mode")?.unwrap_or("DCR") == "DCR",
        })
    }
}

fn spreads(view: &View<'_>) -> Result<(), Refusal> {
    Blocks::of(view, view.output()?).map(|_| ())
}

fn gathers(view: &View<'_>) -> Result<(), Refusal> {
    Blocks::of(view, view.input(0)?).map(|_| ())
}

/// `SpaceToDepth`, which puts the block first among the channels; with the channel first (CRD) the
/// same by hand.
fn depth_to_space(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let blocks = Blocks::of(view, view.output()?)?;
    let (side, channels) = (blocks.side, blocks.channels);
    if blocks.depth_first {
        let settings = vec![attribute::int("blocksize", side)];
        return Ok(vec![(0, builder.node("SpaceToDepth", &[gradient], settings))]);
    }
    let mut f = Formula::new(builder);
    let apart = f.reshape(gradient, &[-1, channels, blocks.height, side, blocks.width, side]);
    let order = vec![attribute::ints("perm", &[0, 1, 3, 5, 2, 4])];
    let turned = builder.node("Transpose", &[&apart], order);
    let shape = [-1, channels * side * side, blocks.height, blocks.width];
    Ok(vec![(0, Formula::new(builder).reshape(&turned, &shape))])
}

fn space_to_depth(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let side = Blocks::of(view, view.input(0)?)?.side;
    let settings = vec![attribute::int("blocksize", side)];
    Ok(vec![(0, builder.node("DepthToSpace", &[gradient], settings))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::testing::Case;

    #[test]
    fn both_ways_and_both_orders() {
        for mode in ["DCR", "CRD"] {
            Case::new(&[12, 2, 3]).check(mode, |b, x| {
                let settings =
                    vec![attribute::int("blocksize", 2), attribute::string("mode", mode)];
                b.node("DepthToSpace", &[x], settings)
            });
        }
        Case::new(&[3, 4, 6]).check("SpaceToDepth", |b, x| {
            b.node("SpaceToDepth", &[x], vec![attribute::int("blocksize", 2)])
        });
    }
}
