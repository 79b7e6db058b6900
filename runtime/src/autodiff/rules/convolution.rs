//! Convolutions.

use ndarray::{ArrayD, Axis, IxDyn};
use rift_models::onnx::{GraphBuilder, attribute, tensor};

use super::phases;
use super::window::Window;
use crate::autodiff::Form;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] = [Rule { op: "Conv", check, backward: First(backward) }];

/// Below so many input channels `ConvTranspose` is faster than a convolution with so few outputs:
/// this is the first layer.
const FEW_CHANNELS: usize = 8;

struct Convolution {
    window: Window,
    group: usize,
    in_channels: usize,
}

impl Convolution {
    fn of(view: &View<'_>) -> Result<Self, Refusal> {
        view.only_first_is_active()?;
        let weight = view.input(1)?;
        let kernel = view.spatial(weight)?;
        let group = view.attributes().int("group")?.unwrap_or(1);
        let in_channels = view.fixed(view.input(0)?, 1)?;
        let outputs = view.fixed(weight, 0)?;
        let group = usize::try_from(group)
            .ok()
            .filter(|g| *g > 0 && in_channels % g == 0 && outputs % g == 0)
            .ok_or_else(|| {
                let expected = format!("a divisor of {in_channels} and {outputs}");
                Refusal::from(view.attributes().wrong("group", &expected, &group.to_string()))
            })?;
        Ok(Self { window: Window::of(view, kernel)?, group, in_channels })
    }

    /// The pads of the convolution that is this one's gradient; `None` if there is no such.
    fn reversed_pads(&self, form: Form) -> Option<Vec<i64>> {
        let window = &self.window;
        let is_slow = form == Form::Mixed && self.in_channels < FEW_CHANNELS;
        if is_slow || window.strides.iter().any(|s| *s != 1) {
            return None;
        }
        let reversed = |pads: &[usize]| -> Option<Vec<i64>> {
            (0..pads.len())
                .map(|axis| (window.reach(axis) - 1).checked_sub(pads[axis]).map(|p| p as i64))
                .collect()
        };
        Some([reversed(&window.pads_begin)?, reversed(&window.pads_end)?].concat())
    }
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    let convolution = Convolution::of(view)?;
    convolution.window.output_padding().map(|_| ())
}

/// `ConvTranspose(g, W)`, and at stride 1 with frozen weights, where that is faster, the convolution
/// of `g` with `W` flipped in space and its channels swapped; at other strides, where convolutions are
/// asked for, that of its [`phases`].
fn backward(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let convolution = Convolution::of(view)?;
    let window = &convolution.window;
    let signed = |values: &[usize]| values.iter().map(|v| *v as i64).collect::<Vec<_>>();
    let mut attributes = vec![
        attribute::ints("kernel_shape", &signed(&window.kernel)),
        attribute::ints("strides", &signed(&window.strides)),
        attribute::ints("dilations", &signed(&window.dilations)),
        attribute::int("group", convolution.group as i64),
    ];
    if let (Some(pads), Some(stored)) =
        (convolution.reversed_pads(view.form), view.stored_floats(1))
    {
        let weight = tensor::load::<f32>(stored)?;
        let reversed = reverse_weight(&weight, convolution.group)?;
        let reversed = builder.array(&format!("{}_reversed", stored.name()), &reversed);
        attributes.push(attribute::ints("pads", &pads));
        return Ok(vec![(0, builder.node("Conv", &[gradient, &reversed], attributes))]);
    }
    if view.form == Form::Convolutions
        && let (Some(stride), Some(stored)) = (phases::stride(window), view.stored_floats(1))
    {
        let weight = tensor::load::<f32>(stored)?;
        let names = (gradient, stored.name());
        let how = (window, stride);
        let input = phases::backward(how, (&weight, convolution.group), names, builder)?;
        return Ok(vec![(0, input)]);
    }
    attributes.push(attribute::ints("pads", &window.pads()));
    attributes.push(attribute::ints("output_padding", &window.output_padding()?));
    Ok(vec![(0, builder.node("ConvTranspose", &[gradient, view.input(1)?], attributes))])
}

/// `G·O × I × …` to `G·I × O × …`, flipped in space.
fn reverse_weight(weight: &ArrayD<f32>, group: usize) -> Result<ArrayD<f32>, Refusal> {
    let shape = weight.shape();
    let (outputs, inputs) = (shape[0] / group, shape[1]);
    let grouped: Vec<usize> = [&[group, outputs, inputs], &shape[2..]].concat();
    let grouped = weight.to_shape(IxDyn(&grouped)).map_err(|error| Refusal(error.to_string()))?;
    let mut swapped = grouped.view();
    swapped.swap_axes(1, 2);
    for axis in 3..swapped.ndim() {
        swapped.invert_axis(Axis(axis));
    }
    let reversed: Vec<usize> = [&[group * inputs, outputs], &shape[2..]].concat();
    let swapped = swapped.as_standard_layout().into_owned();
    swapped.into_shape_with_order(IxDyn(&reversed)).map_err(|error| Refusal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::proto::AttributeProto;

    use super::*;
    use crate::autodiff::testing::{Case, weights};

    fn conv(input: &[usize], weight: &[usize], attributes: &[AttributeProto]) {
        for form in [Form::Mixed, Form::Convolutions] {
            let name = format!("Conv {weight:?} {attributes:?} {form:?}");
            Case::new(input).form(form).check(&name, |b, x| {
                let w = b.array("w", &weights(weight));
                let bias = b.floats("bias", &vec![0.1; weight[0]]);
                b.node("Conv", &[x, &w, &bias], attributes.to_vec())
            });
        }
    }

    fn ints(name: &str, values: &[i64]) -> AttributeProto {
        attribute::ints(name, values)
    }

    #[test]
    fn few_channels_and_many() {
        for channels in [2, 8] {
            conv(&[channels, 5, 4], &[3, channels, 3, 3], &[]);
            conv(&[channels, 5, 4], &[3, channels, 3, 3], &[ints("pads", &[1, 1, 1, 1])]);
            conv(&[channels, 5, 4], &[3, channels, 3, 2], &[ints("pads", &[2, 0, 1, 1])]);
            conv(&[channels, 3, 3], &[3, channels, 1, 1], &[]);
            conv(&[channels, 7], &[3, channels, 3], &[ints("pads", &[1, 1])]);
        }
    }

    #[test]
    fn strides_that_leave_a_rest_and_that_do_not() {
        for side in [6, 7, 8] {
            let pads = ints("pads", &[1, 1, 1, 1]);
            conv(&[2, side, side], &[3, 2, 3, 3], &[ints("strides", &[2, 2]), pads.clone()]);
            conv(&[2, side, side], &[3, 2, 1, 1], &[ints("strides", &[2, 2])]);
            conv(&[2, side, 6], &[3, 2, 3, 3], &[ints("strides", &[3, 1]), pads]);
            // A step over more than the kernel, and a kernel of which one phase is shorter.
            conv(&[2, side, 7], &[3, 2, 2, 1], &[ints("strides", &[3, 3])]);
            let wide = ints("pads", &[3, 2, 1, 3]);
            conv(&[2, side, 5], &[4, 1, 5, 4], &[ints("strides", &[2, 2]), wide, group()]);
        }
    }

    fn group() -> AttributeProto {
        attribute::int("group", 2)
    }

    #[test]
    fn no_transposed_convolution_is_left_where_convolutions_are_asked_for() {
        let Some(environment) = crate::autodiff::testing::environment() else { return };
        let mut builder = GraphBuilder::new("net", 17);
        let dims = [1, 3, 8, 8].map(rift_models::onnx::Dim::Fixed);
        let x = builder.input("x", rift_models::onnx::DataType::Float, &dims).unwrap();
        let [a, b] = [
            builder.array("a", &weights(&[4, 3, 3, 3])),
            builder.array("b", &weights(&[2, 4, 3, 3])),
        ];
        let x = builder.node("Conv", &[&x, &a], vec![ints("strides", &[2, 2])]);
        let x = builder.node("Conv", &[&x, &b], vec![]);
        let x = builder.node("Flatten", &[&x], vec![]);
        builder.output(
            &x,
            rift_models::onnx::DataType::Float,
            &[1, 2].map(rift_models::onnx::Dim::Fixed),
        );
        let model = builder.finish().unwrap();
        let trace = crate::session::trace::Trace::measure(environment, &model).unwrap();
        let interface = crate::autodiff::Interface::of(&model).unwrap();
        let count = |form| {
            let graph =
                crate::autodiff::vector_jacobian_at(&model, &trace, &interface, form).unwrap();
            graph.graph().node.iter().filter(|n| n.op_type() == "ConvTranspose").count()
        };
        assert_eq!((count(Form::Mixed), count(Form::Convolutions)), (2, 0));
    }

    #[test]
    fn dilations_groups_and_wide_pads() {
        for channels in [4, 8] {
            let pads = ints("pads", &[2, 2, 2, 2]);
            let group = attribute::int("group", 2);
            let dilations = ints("dilations", &[2, 2]);
            let half = channels / 2;
            conv(&[channels, 5, 5], &[6, half, 3, 3], &[group.clone(), ints("pads", &[1; 4])]);
            conv(&[channels, 6, 6], &[2, channels, 3, 3], &[dilations.clone(), pads.clone()]);
            conv(&[channels, 4, 4], &[2, channels, 2, 2], std::slice::from_ref(&pads));
            conv(&[channels, 6, 6], &[6, half, 3, 3], &[group, dilations, pads]);
            let depthwise = attribute::int("group", channels as i64);
            conv(&[channels, 5, 5], &[channels, 1, 3, 3], &[depthwise, ints("strides", &[2, 2])]);
        }
    }

    #[test]
    fn automatic_pads() {
        for kind in ["VALID", "SAME_UPPER", "SAME_LOWER"] {
            for stride in [1, 2] {
                let auto = attribute::string("auto_pad", kind);
                conv(&[8, 5, 6], &[2, 8, 4, 3], &[auto, ints("strides", &[stride, stride])]);
            }
        }
    }

    #[test]
    fn weights_that_are_computed() {
        Case::new(&[8, 4, 4]).check("computed weights", |b, x| {
            let w = b.array("w", &weights(&[3, 8, 3, 3]));
            let w = b.node("Neg", &[&w], vec![]);
            b.node("Conv", &[x, &w], vec![])
        });
    }
}
