//! Transposed convolutions.

use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] =
    [Rule { op: "ConvTranspose", check, backward: First(backward) }];

struct Geometry {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
    group: i64,
}

impl Geometry {
    /// The convolution whose gradient the node is: `Window` of the result, but the pads follow from
    /// the lengths, whichever of the three ways the node gives them in.
    fn of(view: &View<'_>) -> Result<Self, Refusal> {
        view.only_first_is_active()?;
        let (input, output) = (view.spatial(view.input(0)?)?, view.spatial(view.output()?)?);
        let kernel = view.spatial(view.input(1)?)?;
        let rank = kernel.len();
        if input.len() != rank || output.len() != rank {
            return Err(Refusal(format!("a kernel of {rank} dimensions over {}", input.len())));
        }
        let attributes = view.attributes();
        let row = |name: &str, least: i64| -> Result<Vec<i64>, Refusal> {
            let values = attributes.ints(name)?.map_or(vec![least; rank], <[i64]>::to_vec);
            if values.len() == rank && values.iter().all(|v| *v >= least) {
                return Ok(values);
            }
            let expected = format!("{rank} numbers of at least {least}");
            Err(attributes.wrong(name, &expected, "others").into())
        };
        let (strides, dilations) = (row("strides", 1)?, row("dilations", 1)?);
        let added = row("output_padding", 0)?;
        let group = attributes.int("group")?.unwrap_or(1);
        let explicit = attributes.ints("pads")?.filter(|pads| pads.len() == 2 * rank);
        let more_at_end = attributes.string("auto_pad")? == Some("SAME_UPPER");
        let mut pads = vec![0; 2 * rank];
        for axis in 0..rank {
            let reach = dilations[axis] * (kernel[axis] as i64 - 1) + 1;
            let covered = (input[axis] as i64 - 1) * strides[axis] + reach;
            let surplus = covered - output[axis] as i64;
            // ONNX Runtime divides what goes beyond the result, if anything does; what is missing
            // it adds at the end.
            let total = (surplus + added[axis]).max(0);
            let is_automatic = attributes.ints("output_shape")?.is_some()
                || matches!(attributes.string("auto_pad")?, Some("SAME_UPPER" | "SAME_LOWER"));
            let begin = match (is_automatic, explicit) {
                (true, _) if more_at_end => total / 2,
                (true, _) => total - total / 2,
                (false, Some(pads)) => pads[axis],
                (false, None) => 0,
            };
            pads[axis] = begin;
            // Negative where `output_padding` adds more than the pads take away.
            pads[rank + axis] = surplus - begin;
        }
        let kernel = kernel.iter().map(|k| *k as i64).collect();
        Ok(Self { kernel, strides, dilations, pads, group })
    }
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    Geometry::of(view).map(|_| ())
}

/// `Conv(g, W)`. What the result had beyond the last window is cut first.
fn backward(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let geometry = Geometry::of(view)?;
    let rank = geometry.kernel.len();
    let mut gradient = gradient.to_owned();
    let mut pads = geometry.pads.clone();
    if pads.iter().any(|p| *p < 0) {
        let mut cut = vec![0; 2 * (rank + 2)];
        for axis in 0..rank {
            cut[2 + axis] = pads[axis].min(0);
            cut[rank + 4 + axis] = pads[rank + axis].min(0);
        }
        for pad in &mut pads {
            *pad = (*pad).max(0);
        }
        let cut = builder.integers("pads", &cut);
        gradient = builder.node("Pad", &[&gradient, &cut], vec![]);
    }
    let attributes = vec![
        attribute::ints("kernel_shape", &geometry.kernel),
        attribute::ints("strides", &geometry.strides),
        attribute::ints("dilations", &geometry.dilations),
        attribute::ints("pads", &pads),
        attribute::int("group", geometry.group),
    ];
    Ok(vec![(0, builder.node("Conv", &[&gradient, view.input(1)?], attributes))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::proto::AttributeProto;

    use super::*;
    use crate::autodiff::testing::{Case, weights};

    fn transposed(name: &str, weight: &[usize], settings: &[AttributeProto]) {
        let mut image = vec![weight[0], 4, 3];
        image.truncate(weight.len() - 1);
        Case::new(&image).check(name, |b, x| {
            let w = b.array("w", &weights(weight));
            b.node("ConvTranspose", &[x, &w], settings.to_vec())
        });
    }

    #[test]
    fn with_every_setting() {
        let ints = attribute::ints;
        transposed("plain", &[2, 3, 3, 3], &[]);
        transposed("1-D", &[2, 3, 3], &[ints("strides", &[2])]);
        transposed("pads", &[2, 3, 3, 3], &[ints("strides", &[2, 2]), ints("pads", &[1, 0, 1, 2])]);
        let odd = [ints("strides", &[2, 3]), ints("output_padding", &[1, 2])];
        transposed("output padding", &[2, 3, 3, 2], &odd);
        transposed(
            "dilations",
            &[2, 3, 2, 2],
            &[ints("dilations", &[2, 1]), ints("pads", &[1, 1, 1, 1])],
        );
        transposed("group", &[4, 1, 3, 3], &[attribute::int("group", 2), ints("strides", &[2, 1])]);
        for kind in ["SAME_UPPER", "SAME_LOWER"] {
            let auto = attribute::string("auto_pad", kind);
            transposed(kind, &[2, 3, 3, 3], &[auto, ints("strides", &[2, 2])]);
        }
        transposed(
            "output shape",
            &[2, 3, 3, 3],
            &[ints("strides", &[2, 2]), ints("output_shape", &[8, 6])],
        );
    }

    #[test]
    fn a_result_that_goes_beyond_what_the_windows_cover() {
        let strides = attribute::ints("strides", &[2, 2]);
        for kind in ["NOTSET", "SAME_UPPER", "SAME_LOWER"] {
            let auto = attribute::string("auto_pad", kind);
            for shape in [[9, 7], [10, 8], [8, 7]] {
                let shape = attribute::ints("output_shape", &shape);
                transposed(kind, &[2, 3, 3, 3], &[strides.clone(), auto.clone(), shape]);
            }
            let padding = attribute::ints("output_padding", &[1, 1]);
            for kernel in [1, 2, 3, 4] {
                let settings = [strides.clone(), auto.clone(), padding.clone()];
                transposed(kind, &[2, 3, kernel, kernel], &settings);
            }
        }
    }
}
