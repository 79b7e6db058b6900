//! The gradient of a strided convolution as one convolution.
//!
//! In one dimension, with stride s, kernel w and padding p before the input, the gradient of the
//! input is `x′[m − p] = Σ_o g[o] · w[m − s·o]`. With `m = s·q + r` that is, for each phase r, the
//! stride-1 convolution `Σ_t g[q − t] · w[s·t + r]`. The phases are computed side by side as channels
//! and `DepthToSpace` puts them in line.

use ndarray::{ArrayD, IxDyn};
use rift_models::onnx::{GraphBuilder, attribute};

use super::window::Window;
use crate::autodiff::error::Refusal;

/// The stride, where two dimensions share one above 1 and no gaps are in the way.
pub(super) fn stride(window: &Window) -> Option<usize> {
    match (&window.strides[..], &window.dilations[..]) {
        ([a, b], [1, 1]) if a == b && *a > 1 => Some(*a),
        _ => None,
    }
}

/// `g` convolved with the phases of `weight`, `G·O × I × kH × kW`, put in line and cut to the input.
pub(super) fn backward(
    (window, stride): (&Window, usize),
    (weight, group): (&ArrayD<f32>, usize),
    (gradient, stem): (&str, &str),
    builder: &mut GraphBuilder,
) -> Result<String, Refusal> {
    let taps: Vec<usize> = window.kernel.iter().map(|k| k.div_ceil(stride)).collect();
    let phases = builder.array(&format!("{stem}_phases"), &split(weight, group, stride, &taps)?);
    // The positions q that the input reaches, of which there may be fewer than g has.
    let reached: Vec<usize> =
        (0..2).map(|a| (window.pads_begin[a] + window.input[a]).div_ceil(stride)).collect();
    let before: Vec<i64> = taps.iter().map(|t| *t as i64 - 1).collect();
    let after: Vec<i64> =
        (0..2).map(|a| (reached[a] as i64 - window.output[a] as i64).max(0)).collect();
    let kernel: Vec<i64> = taps.iter().map(|t| *t as i64).collect();
    let attributes = vec![
        attribute::ints("kernel_shape", &kernel),
        attribute::ints("pads", &[before, after].concat()),
        attribute::int("group", group as i64),
    ];
    let side_by_side = builder.node("Conv", &[gradient, &phases], attributes);
    let block = vec![attribute::int("blocksize", stride as i64), attribute::string("mode", "CRD")];
    let in_line = builder.node("DepthToSpace", &[&side_by_side], block);
    let starts: Vec<i64> = window.pads_begin.iter().map(|p| *p as i64).collect();
    let ends: Vec<i64> = (0..2).map(|a| (window.pads_begin[a] + window.input[a]) as i64).collect();
    let length = |a: usize| stride * reached[a].max(window.output[a]);
    if (0..2).all(|a| starts[a] == 0 && ends[a] == length(a) as i64) {
        return Ok(in_line);
    }
    let [starts, ends, axes] = [("starts", starts), ("ends", ends), ("axes", vec![2, 3])]
        .map(|(name, values)| builder.integers(name, &values));
    Ok(builder.node("Slice", &[&in_line, &starts, &ends, &axes], vec![]))
}

/// `G·O × I × kH × kW` to `G·I·s·s × O × T × T`: phase `(r, c)` of input `i` has the taps
/// `w[o, i, s·t + r, s·u + c]`, the last first, 0 where the kernel has ended.
fn split(
    weight: &ArrayD<f32>,
    group: usize,
    stride: usize,
    taps: &[usize],
) -> Result<ArrayD<f32>, Refusal> {
    let [outputs, inputs, height, width] = *weight.shape() else {
        return Err(Refusal::new("the weight has not four dimensions"));
    };
    let outputs = outputs / group;
    let shape = [group * inputs * stride * stride, outputs, taps[0], taps[1]];
    Ok(ArrayD::from_shape_fn(IxDyn(&shape), |at| {
        let (row, o) = (at[0], at[1]);
        let (channel, phase) = (row / (stride * stride), row % (stride * stride));
        let (g, i) = (channel / inputs, channel % inputs);
        let y = (taps[0] - 1 - at[2]) * stride + phase / stride;
        let x = (taps[1] - 1 - at[3]) * stride + phase % stride;
        if y < height && x < width { weight[[g * outputs + o, i, y, x]] } else { 0.0 }
    }))
}
