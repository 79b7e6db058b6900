//! A model as the same model on integers, in the form that says both: `QuantizeLinear` and
//! `DequantizeLinear` around the operators that were there (QDQ).
//!
//! Any ONNX Runtime reads this form, and one with integer kernels fuses it to them. What was there
//! keeps its name; of what is added, `q7` are the bytes of a value, `d7` the numbers that they stand
//! for and `s7` their scale. Longer names, and zero points and attributes that say what ONNX takes for
//! said, would make the file of a small network larger by a fiftieth.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{Array1, Axis, IxDyn, aview0};
use rift_models::artifact::ActivationFormat;
use rift_models::onnx::proto::{
    AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use rift_models::onnx::{Attributes, GraphIndex, Model, Names, attribute, tensor};

use super::QuantizeError;
use super::plan::Plan;
use super::range::{Grid, Range, STEPS};
use super::weights::Weights;

/// How numbers become integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The bytes that stand for activations.
    pub activations: ActivationFormat,
    /// Whether weights spare one bit.
    pub reduce_range: bool,
}

/// The first operator set in which `DequantizeLinear` has a scale for each channel.
pub const OLDEST: i64 = 13;

/// `model` on integers where `plan` says so; `ranges` holds those of the plan's values.
///
/// # Errors
/// If the operator set is too old, a range is missing or a weight cannot be read.
pub fn rewrite(
    model: &Model,
    plan: &Plan,
    ranges: &BTreeMap<String, Range>,
    style: Style,
) -> Result<Model, QuantizeError> {
    if model.opset() < OLDEST {
        return Err(QuantizeError::Opset { expected: OLDEST, found: model.opset() });
    }
    let index = GraphIndex::new(model)?;
    let mut writer = Writer::new(&index, plan, ranges, style);
    for input in index.inputs() {
        writer.quantize(input.name())?;
    }
    for (at, node) in index.nodes().iter().enumerate() {
        writer.node(at, node)?;
    }
    let Writer { nodes, mut initializers, .. } = writer;
    let mut proto = model.proto().clone();
    constants_are_no_inputs(&mut proto);
    if let Some(graph) = &mut proto.graph {
        let replaced: BTreeSet<String> =
            initializers.iter().map(|made| made.name().to_owned()).collect();
        let read: BTreeSet<&str> =
            nodes.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        graph
            .initializer
            .retain(|kept| read.contains(kept.name()) && !replaced.contains(kept.name()));
        graph.initializer.append(&mut initializers);
        graph.node = nodes;
        graph.value_info.clear();
    }
    let written = Model::from_proto(proto)?;
    GraphIndex::new(&written)?;
    Ok(written)
}

/// Files up to IR version 3 have to list their constants among the inputs too, with types that no longer
/// hold.
pub(super) fn constants_are_no_inputs(proto: &mut ModelProto) {
    proto.ir_version = Some(proto.ir_version().max(4));
    let Some(graph) = &mut proto.graph else { return };
    let constants: BTreeSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    graph.input.retain(|input| !constants.contains(input.name()));
}

struct Writer<'a, 'm> {
    index: &'a GraphIndex<'m>,
    plan: &'a Plan,
    ranges: &'a BTreeMap<String, Range>,
    style: Style,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    names: Names,
    /// Quantised values, with the name under which they are read.
    read_as: BTreeMap<String, String>,
    zero_points: BTreeMap<i32, String>,
    scales: BTreeMap<String, String>,
    /// Constants that something reads as numbers, so that they are kept as such.
    float_read: BTreeSet<&'m str>,
    /// Values and parameters that have been numbered.
    count: usize,
}

impl<'a, 'm> Writer<'a, 'm> {
    fn new(
        index: &'a GraphIndex<'m>,
        plan: &'a Plan,
        ranges: &'a BTreeMap<String, Range>,
        style: Style,
    ) -> Self {
        let values = index.nodes().iter().flat_map(|node| node.input.iter().chain(&node.output));
        let inputs = index.inputs().iter().map(|input| input.name().to_owned());
        let names = values.cloned().chain(inputs).collect();
        Self {
            index,
            plan,
            ranges,
            style,
            nodes: Vec::new(),
            initializers: Vec::new(),
            names,
            read_as: BTreeMap::new(),
            zero_points: BTreeMap::new(),
            scales: BTreeMap::new(),
            float_read: float_read(index, plan),
            count: 0,
        }
    }

    fn next(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    fn grid(&self, value: &str) -> Result<Option<Grid>, QuantizeError> {
        let Some(origin) = self.plan.values.get(value) else { return Ok(None) };
        let range = self.ranges.get(origin);
        let range = range.ok_or_else(|| QuantizeError::NoRange { value: origin.clone() })?;
        Ok(Some(Grid::new(*range, self.style.activations)))
    }

    fn node(&mut self, at: usize, node: &NodeProto) -> Result<(), QuantizeError> {
        if self.absorb(at, node)? {
            return Ok(());
        }
        let mut node = node.clone();
        if self.plan.nodes.contains(&at) && matches!(node.op_type(), "Conv" | "Gemm") {
            self.layer(&mut node)?;
            node.attribute.retain(|attribute| !is_understood(attribute));
        }
        for input in &mut node.input {
            if let Some(read) = self.read_as.get(input) {
                input.clone_from(read);
            }
        }
        let made = node.output.clone();
        self.nodes.push(node);
        made.iter().try_for_each(|value| self.quantize(value))
    }

    /// Leaves a `Clip` out whose bounds are those of the bytes behind it; whether it is one.
    fn absorb(&mut self, at: usize, node: &NodeProto) -> Result<bool, QuantizeError> {
        let (Some(most), [read, ..], [made]) =
            (self.plan.absorbed.get(&at), &node.input[..], &node.output[..])
        else {
            return Ok(false);
        };
        // A value that was never above 0 has a grid that says nothing about where it ends.
        let reaches = self.grid(made)?.map(|grid| f64::from(grid.scale) * STEPS);
        if reaches.is_none_or(|reach| reach > f64::from(*most) * (1.0 + 1e-6)) {
            return Ok(false);
        }
        let makers = self.nodes.iter_mut().rev().flat_map(|node| &mut node.output);
        for output in makers.filter(|output| *output == read) {
            output.clone_from(made);
        }
        self.quantize(made)?;
        Ok(true)
    }

    /// Puts the integers of a value between its maker and its readers, where the plan says so.
    fn quantize(&mut self, value: &str) -> Result<(), QuantizeError> {
        let Some(grid) = self.grid(value)? else { return Ok(()) };
        let origin = self.plan.values.get(value).map_or(value, String::as_str).to_owned();
        let count = self.next();
        let scale = self.scale(&origin, grid.scale, count);
        let zero = self.zero_point(grid.zero_point);
        let [integers, numbers] =
            ["q", "d"].map(|kind| self.names.fresh(&format!("{kind}{count}")));
        let parameters = |first: &str| vec![first.to_owned(), scale.clone(), zero.clone()];
        self.push("QuantizeLinear", parameters(value), &integers, None);
        self.push("DequantizeLinear", parameters(&integers), &numbers, None);
        self.read_as.insert(value.to_owned(), numbers);
        Ok(())
    }

    /// Writes a layer's weight and bias as integers.
    fn layer(&mut self, node: &mut NodeProto) -> Result<(), QuantizeError> {
        let value = node.input.first().cloned().unwrap_or_default();
        let input = self.grid(&value)?.ok_or(QuantizeError::NoRange { value })?.scale;
        let weight = tensor::load::<f32>(self.index.constant_input(node, 1)?)?;
        let transposed = Attributes::of(node).int("transB")?.unwrap_or(0) != 0;
        let axis = usize::from(node.op_type() == "Gemm" && !transposed);
        let bias = node.input.get(2).filter(|name| !name.is_empty()).cloned();
        let shift: Option<Array1<f32>> = match &bias {
            Some(_) => {
                let bias = tensor::load::<f32>(self.index.constant_input(node, 2)?)?;
                Some(row(&bias, weight.len_of(Axis(axis)), node)?)
            }
            None => None,
        };
        let largest = Weights::largest(self.style.reduce_range);
        let weights = Weights::new(&weight, axis, (shift.as_ref(), input), largest);
        let name = node.input[1].clone();
        node.input[1] =
            self.parameter(&name, tensor::store("", &weights.integers), (&weights.scales, axis));
        if let (Some(name), Some(shift)) = (bias, shift) {
            let (integers, units) = weights.bias(&shift, input);
            node.input[2] = self.parameter(&name, tensor::store("", &integers), (&units, 0));
        }
        Ok(())
    }

    /// Stores integers under the name of what they stand for; returns the name of the numbers.
    fn parameter(
        &mut self,
        name: &str,
        mut integers: TensorProto,
        (scales, axis): (&Array1<f32>, usize),
    ) -> String {
        let is_matrix = integers.dims.len() == 2;
        let count = self.next();
        // A tensor that two layers share is stored for each: their inputs' scales differ.
        // So is one that is read as numbers too.
        let is_taken = self.float_read.contains(name)
            || self.initializers.iter().any(|made| made.name() == name);
        let stored =
            if is_taken { self.names.fresh(&format!("q{count}")) } else { name.to_owned() };
        integers.name = Some(stored.clone());
        self.initializers.push(integers);
        let [scale, numbers] = ["s", "d"].map(|kind| self.names.fresh(&format!("{kind}{count}")));
        self.initializers.push(tensor::store(&scale, scales));
        let mut input = vec![stored, scale];
        if is_matrix {
            // Without one, ONNX Runtime does not find the form that `QGemm` has.
            let zeros = self.names.fresh(&format!("zeros{count}"));
            self.initializers.push(tensor::store(&zeros, &Array1::<i8>::zeros(scales.len())));
            input.push(zeros);
        }
        self.push("DequantizeLinear", input, &numbers, Some(axis));
        numbers
    }

    fn scale(&mut self, origin: &str, scale: f32, count: usize) -> String {
        if let Some(known) = self.scales.get(origin) {
            return known.clone();
        }
        let name = self.names.fresh(&format!("s{count}"));
        self.initializers.push(tensor::store(&name, &aview0(&scale)));
        self.scales.insert(origin.to_owned(), name.clone());
        name
    }

    fn zero_point(&mut self, zero: i32) -> String {
        if let Some(known) = self.zero_points.get(&zero) {
            return known.clone();
        }
        let name = self.names.fresh(&format!("z{zero}"));
        self.initializers.push(match self.style.activations {
            ActivationFormat::U8 => tensor::store(&name, &aview0(&(zero as u8))),
            ActivationFormat::S8 => tensor::store(&name, &aview0(&(zero as i8))),
        });
        self.zero_points.insert(zero, name.clone());
        name
    }

    fn push(&mut self, op: &str, input: Vec<String>, output: &str, axis: Option<usize>) {
        self.nodes.push(NodeProto {
            op_type: Some(op.to_owned()),
            input,
            output: vec![output.to_owned()],
            attribute: axis.map(|axis| attribute::int("axis", axis as i64)).into_iter().collect(),
            ..NodeProto::default()
        });
    }
}

/// The constants that anything but a layer on integers reads.
fn float_read<'m>(index: &GraphIndex<'m>, plan: &Plan) -> BTreeSet<&'m str> {
    let outputs = index.outputs().iter().map(ValueInfoProto::name);
    let read = index.nodes().iter().enumerate().flat_map(|(at, node)| {
        let is_layer = plan.nodes.contains(&at) && matches!(node.op_type(), "Conv" | "Gemm");
        let slots = if is_layer { 1 } else { node.input.len() };
        node.input.iter().take(slots).map(String::as_str)
    });
    outputs.chain(read).filter(|value| index.constant(value).is_some()).collect()
}

/// Whether an attribute of a convolution says what holds without it.
fn is_understood(attribute: &AttributeProto) -> bool {
    match attribute.name() {
        "strides" | "dilations" => attribute.ints.iter().all(|&step| step == 1),
        "pads" => attribute.ints.iter().all(|&pad| pad == 0),
        "group" => attribute.i() == 1,
        _ => false,
    }
}

/// A bias as one number an output: a `Gemm` may have a single number, or a row in a matrix.
pub(super) fn row(
    bias: &ndarray::ArrayD<f32>,
    outputs: usize,
    node: &NodeProto,
) -> Result<Array1<f32>, QuantizeError> {
    let found = bias.shape();
    let wide = bias.broadcast(IxDyn(&[1, outputs])).filter(|_| found.len() <= 2);
    let row = wide.map(|wide| wide.iter().copied().collect());
    row.ok_or_else(|| QuantizeError::Bias {
        layer: attribute::node_label(node).to_owned(),
        found: found.to_vec(),
    })
}
