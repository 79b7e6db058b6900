//! Pools over windows.

use ndarray::{ArrayD, IxDyn};
use rift_models::onnx::proto::AttributeProto;
use rift_models::onnx::{GraphBuilder, attribute};

use super::window::Window;
use crate::autodiff::emit;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 2] = [
    Rule { op: "AveragePool", check: check_average, backward: First(average) },
    Rule { op: "MaxPool", check: check_max, backward: First(max) },
];

/// Since this operator set `ScatterElements` can add, which windows that overlap need.
pub(super) const SCATTER_ADDS: i64 = 16;

pub(super) fn window(view: &View<'_>) -> Result<Window, Refusal> {
    let kernel = view.attributes().ints("kernel_shape")?;
    let kernel = kernel.ok_or_else(|| Refusal::new("attribute `kernel_shape` is missing"))?;
    let kernel: Option<Vec<usize>> =
        kernel.iter().map(|k| usize::try_from(*k).ok().filter(|k| *k > 0)).collect();
    let kernel = kernel.ok_or_else(|| {
        Refusal::from(view.attributes().wrong("kernel_shape", "numbers above 0", "others"))
    })?;
    Window::of(view, kernel)
}

fn check_average(view: &View<'_>) -> Result<(), Refusal> {
    let window = window(view)?;
    view.fixed(view.input(0)?, 1)?;
    view.attributes().int("count_include_pad")?;
    if window.is_empty() { Err(Refusal::new("it has no window")) } else { Ok(()) }
}

/// `g / n` to the `n` numbers of each window: by repetition where the windows tile the input, else
/// by a transposed convolution of each channel with ones.
fn average(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let window = window(view)?;
    if window.tiles() {
        return tile(view, gradient, &window, builder);
    }
    let shares = builder.array("shares", &shares(view, &window)?);
    let shared = builder.node("Mul", &[gradient, &shares], vec![]);
    Ok(vec![(0, spread(view, &shared, &window, builder)?)])
}

/// The sum of `value` over the windows that hold a position.
///
/// The last window of a pool that rounds up may go beyond the padded image; the pads go with it.
pub(super) fn spread(
    view: &View<'_>,
    value: &str,
    window: &Window,
    builder: &mut GraphBuilder,
) -> Result<String, Refusal> {
    let channels = view.fixed(view.input(0)?, 1)?;
    let ones: Vec<usize> = [&[channels, 1], window.kernel.as_slice()].concat();
    let ones = builder.array("ones", &ArrayD::from_elem(IxDyn(&ones), 1.0f32));
    let signed = |values: &[usize]| values.iter().map(|v| *v as i64).collect::<Vec<_>>();
    let reaching = window.reaching();
    let attributes = vec![
        attribute::ints("kernel_shape", &signed(&window.kernel)),
        attribute::ints("strides", &signed(&window.strides)),
        attribute::ints("dilations", &signed(&window.dilations)),
        attribute::ints("pads", &reaching.pads()),
        attribute::ints("output_padding", &reaching.output_padding()?),
        attribute::int("group", channels as i64),
    ];
    Ok(builder.node("ConvTranspose", &[value, &ones], attributes))
}

fn tile(
    view: &View<'_>,
    gradient: &str,
    window: &Window,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let channels = view.fixed(view.input(0)?, 1)? as i64;
    let mut apart = vec![-1, channels];
    let mut repeat = vec![1, 1];
    for (output, kernel) in window.output.iter().zip(&window.kernel) {
        apart.extend([*output as i64, 1]);
        repeat.extend([1, *kernel]);
    }
    let share = 1.0 / window.kernel.iter().product::<usize>() as f32;
    let apart = builder.integers("shape", &apart);
    let repeat = builder.array("spread", &ArrayD::from_elem(IxDyn(&repeat), share));
    let apart = builder.node("Reshape", &[gradient, &apart], vec![]);
    let repeated = builder.node("Mul", &[&apart, &repeat], vec![]);
    Ok(vec![(0, emit::reshape_like(view, &repeated, view.input(0)?, builder)?)])
}

/// One over the number of values that each window averages.
fn shares(view: &View<'_>, window: &Window) -> Result<ArrayD<f32>, Refusal> {
    let counts_pads = view.attributes().int("count_include_pad")?.unwrap_or(0) != 0;
    let shape: Vec<usize> = [&[1, 1], window.output.as_slice()].concat();
    Ok(ArrayD::from_shape_fn(IxDyn(&shape), |position| {
        let count: usize = (0..window.kernel.len())
            .map(|axis| {
                let start = position[axis + 2] * window.strides[axis];
                let (begin, input) = (window.pads_begin[axis], window.input[axis]);
                let inside = |k: &usize| {
                    let at = start + k * window.dilations[axis];
                    if counts_pads {
                        return at < begin + input + window.pads_end[axis];
                    }
                    at >= begin && at < begin + input
                };
                (0..window.kernel[axis]).filter(inside).count()
            })
            .product();
        1.0 / count.max(1) as f32
    }))
}

fn check_max(view: &View<'_>) -> Result<(), Refusal> {
    let window = window(view)?;
    if view.attributes().int("storage_order")?.unwrap_or(0) != 0 {
        return Err(view.attributes().wrong("storage_order", "0", "another").into());
    }
    let overlaps = (0..window.kernel.len()).any(|a| window.reach(a) > window.strides[a]);
    if overlaps && view.opset < SCATTER_ADDS {
        let reason = format!(
            "its windows overlap, which needs operator set {SCATTER_ADDS}, found {}",
            view.opset
        );
        return Err(Refusal(reason));
    }
    Ok(())
}

/// `g` to the first largest number of each window, as in PyTorch.
///
/// `Indices` counts positions over the whole batch. They come from a second `MaxPool`, so that the
/// first keeps the layout that is fastest for the forward pass.
fn max(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let input = view.input(0)?;
    let attributes: Vec<AttributeProto> = view.node.attribute.clone();
    let outputs = builder.node_with_outputs("MaxPool", &[input], attributes, 2);
    let flat = builder.integers("shape", &[-1]);
    let places = builder.node("Reshape", &[&outputs[1], &flat], vec![]);
    let updates = builder.node("Reshape", &[gradient, &flat], vec![]);
    let size = builder.node("Size", &[input], vec![]);
    let size = builder.node("Reshape", &[&size, &flat], vec![]);
    let zeros = builder.node("ConstantOfShape", &[&size], vec![]);
    let mut scatter = vec![attribute::int("axis", 0)];
    if view.opset >= SCATTER_ADDS {
        scatter.push(attribute::string("reduction", "add"));
    }
    let scattered = builder.node("ScatterElements", &[&zeros, &places, &updates], scatter);
    Ok(vec![(0, emit::reshape_like(view, &scattered, input, builder)?)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::testing::Case;

    fn ints(name: &str, values: &[i64]) -> AttributeProto {
        attribute::ints(name, values)
    }

    #[test]
    fn average_over_tiles() {
        Case::new(&[2, 4, 6]).check("tiles", |b, x| {
            let settings = vec![ints("kernel_shape", &[2, 3]), ints("strides", &[2, 3])];
            b.node("AveragePool", &[x], settings)
        });
        Case::new(&[2, 4, 4]).check("one tile", |b, x| {
            b.node("AveragePool", &[x], vec![ints("kernel_shape", &[4, 4])])
        });
        Case::new(&[2, 6]).check("1-D", |b, x| {
            let settings = vec![ints("kernel_shape", &[2]), ints("strides", &[2])];
            b.node("AveragePool", &[x], settings)
        });
    }

    #[test]
    fn average_over_windows_that_overlap_or_leave_a_rest() {
        for include in [0, 1] {
            for (stride, pads) in [(1, [0; 4]), (2, [0; 4]), (2, [1; 4]), (3, [1, 0, 0, 1])] {
                Case::new(&[2, 6, 5]).check("windows", |b, x| {
                    let settings = vec![
                        ints("kernel_shape", &[3, 2]),
                        ints("strides", &[stride, stride]),
                        ints("pads", &pads),
                        attribute::int("count_include_pad", include),
                    ];
                    b.node("AveragePool", &[x], settings)
                });
            }
        }
        for (include, pads) in [(0, [0; 4]), (1, [0; 4]), (0, [1; 4]), (1, [1; 4])] {
            Case::new(&[2, 6, 8]).opset(19).check("rounded up", |b, x| {
                let settings = vec![
                    ints("kernel_shape", &[3, 3]),
                    ints("strides", &[2, 3]),
                    ints("pads", &pads),
                    attribute::int("ceil_mode", 1),
                    attribute::int("count_include_pad", include),
                ];
                b.node("AveragePool", &[x], settings)
            });
        }
        Case::new(&[2, 6, 7]).opset(19).check("with gaps", |b, x| {
            let settings = vec![ints("kernel_shape", &[2, 3]), ints("dilations", &[3, 2])];
            b.node("AveragePool", &[x], settings)
        });
        Case::new(&[2, 5, 5]).check("automatic pads", |b, x| {
            let settings = vec![
                ints("kernel_shape", &[2, 2]),
                ints("strides", &[2, 2]),
                attribute::string("auto_pad", "SAME_UPPER"),
            ];
            b.node("AveragePool", &[x], settings)
        });
    }

    #[test]
    fn max_over_tiles_and_windows() {
        for (opset, kernel, stride, pads) in [
            (13, 2, 2, [0; 4]),
            (17, 2, 2, [0; 4]),
            (17, 3, 2, [1; 4]),
            (18, 3, 1, [0, 1, 1, 0]),
            (17, 2, 3, [0; 4]),
        ] {
            Case::new(&[2, 6, 7]).opset(opset).check("MaxPool", |b, x| {
                let settings = vec![
                    ints("kernel_shape", &[kernel, kernel]),
                    ints("strides", &[stride, stride]),
                    ints("pads", &pads),
                ];
                b.node("MaxPool", &[x], settings)
            });
        }
        Case::new(&[2, 7, 7]).check("MaxPool rounded up", |b, x| {
            let settings = vec![
                ints("kernel_shape", &[3, 3]),
                ints("strides", &[2, 2]),
                attribute::int("ceil_mode", 1),
                ints("dilations", &[1, 2]),
            ];
            b.node("MaxPool", &[x], settings)
        });
    }

    #[test]
    fn the_first_of_two_maxima_takes_all() {
        let gradient = Case::new(&[1, 2, 2]).gradient_at(&[0.5, 1.0, 1.0, 1.0], |b, x| {
            let settings = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
            b.node("MaxPool", &[x], settings)
        });
        let Some(gradient) = gradient else { return };
        assert_eq!(gradient, [0.0, 1.0, 0.0, 0.0]);
    }
}
