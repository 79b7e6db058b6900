//! The forward part of a gradient graph: the model up to its logits, with the names that the
//! gradient graph adds kept free.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rift_models::onnx::proto::{ModelProto, NodeProto, TensorProto, ValueInfoProto};
use rift_models::onnx::{DataType, Dim, GraphIndex, Model, OLDEST_OPSET, TensorType, plain};

use super::error::AutodiffError;
use super::interface::Interface;
use crate::session::trace::Trace;

/// The names of the inputs and outputs that a gradient graph adds, except `logits`.
const ADDED: [&str; 5] = ["loss", "input_gradient", "labels", "targets", "cotangent"];

/// The model in the form that the rules know.
pub(super) fn plain_form(model: &Model) -> Result<Cow<'_, Model>, AutodiffError> {
    if model.opset() < OLDEST_OPSET {
        return Err(AutodiffError::Opset { found: model.opset(), oldest: OLDEST_OPSET });
    }
    plain(model).map_err(AutodiffError::Model)
}

/// A classifier whose one output is its logits, under the name `logits`.
pub(super) struct Forward {
    pub(super) model: Model,
    pub(super) trace: Trace,
    pub(super) interface: Interface,
    pub(super) classes: usize,
}

impl Forward {
    /// Cuts `model` off at its logits and renames what is in the way.
    pub(super) fn of(
        model: &Model,
        trace: &Trace,
        interface: &Interface,
    ) -> Result<Self, AutodiffError> {
        let model = plain_form(model)?;
        let mut interface = settled(interface, trace);
        let classes = classes(trace, &interface)?;
        let taken = ADDED.iter().chain(&["logits"]).find(|name| **name == interface.input);
        if let Some(name) = taken {
            let expected = "an input by another name than those that the gradient adds";
            return Err(AutodiffError::Interface { expected, found: format!("`{name}`") });
        }
        let index = GraphIndex::new(&model)?;
        let wanted = index.ancestors(&interface.logits.value);
        // What was measured is what the reverse pass holds for, so a free size is free no more.
        let measured = trace.get(&interface.input).map(|t| t.shape.as_slice()).unwrap_or_default();
        for (dim, length) in interface.dims.iter_mut().zip(measured).skip(1) {
            *dim = length.fixed().map_or(dim.clone(), Dim::Fixed);
        }
        let image = TensorType { element: DataType::Float, dims: Some(interface.dims.clone()) };
        let mut proto = model.proto().clone();
        if let Some(graph) = &mut proto.graph {
            graph.node.retain(|n| n.output.iter().any(|v| wanted.contains(v.as_str())));
            graph.initializer.retain(|t| wanted.contains(t.name()));
            // An initialiser that is also an input could be replaced, and the frozen copies in the
            // reverse pass could not.
            graph.input = vec![image.declare(&interface.input)];
            graph.value_info.clear();
            graph.quantization_annotation.clear();
            let dims = Some(vec![interface.dims[0].clone(), Dim::Fixed(classes)]);
            let declared = TensorType { element: DataType::Float, dims };
            graph.output = vec![declared.declare(&interface.logits.value)];
        }
        let mut trace = trace.clone();
        if trace.get(&interface.logits.value).is_some_and(|t| t.shape.len() > 2) {
            flatten(&mut proto, (&mut trace, classes), &mut interface.logits.value);
        }
        let renamed = renaming(&proto, &interface);
        rename(&mut proto, &renamed);
        trace.rename(&renamed);
        "logits".clone_into(&mut interface.logits.value);
        Ok(Self { model: Model::from_proto(proto)?, trace, interface, classes })
    }
}

/// `interface` with the output as the logits where the softmax that stands before it is not over
/// one row of classes an image: several groups of probabilities are no logits of one choice.
pub(super) fn settled(interface: &Interface, trace: &Trace) -> Interface {
    let mut settled = interface.clone();
    let logits = &mut settled.logits;
    if logits.before_softmax && row(trace, interface, &logits.value).is_none() {
        logits.value.clone_from(&logits.output);
        logits.before_softmax = false;
    }
    settled
}

/// How many numbers `value` has an image, if they stand in one dimension.
fn row(trace: &Trace, interface: &Interface, value: &str) -> Option<usize> {
    let (batch, rest) = trace.get(value)?.shape.split_first()?;
    let image = trace.get(&interface.input)?;
    let lengths: Option<Vec<usize>> = rest.iter().map(|length| length.fixed()).collect();
    let lengths = lengths.filter(|l| !l.is_empty() && image.shape.first() == Some(batch))?;
    let is_row = lengths.iter().filter(|length| **length != 1).count() <= 1;
    is_row.then(|| lengths.iter().product()).filter(|classes| *classes >= 1)
}

fn classes(trace: &Trace, interface: &Interface) -> Result<usize, AutodiffError> {
    let value = &interface.logits.value;
    row(trace, interface, value).ok_or_else(|| {
        let shape = trace.get(value).map(|t| t.shape.as_slice()).unwrap_or_default();
        let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let found = format!("`{value}` [{}]", shape.join(", "));
        AutodiffError::Interface { expected: "logits float[N, classes]", found }
    })
}

/// Makes `N × classes` of `N × classes × 1 × 1`, as networks that end in a global pool give it, or
/// of `N × 1 × 1 × classes`.
fn flatten(proto: &mut ModelProto, (trace, classes): (&mut Trace, usize), logits: &mut String) {
    let Some(graph) = &mut proto.graph else { return };
    let mut flat = format!("{logits}_flat");
    while trace.get(&flat).is_some() {
        flat.push('_');
    }
    graph.node.push(NodeProto {
        op_type: Some("Flatten".to_owned()),
        name: Some(flat.clone()),
        input: vec![logits.clone()],
        output: vec![flat.clone()],
        ..NodeProto::default()
    });
    for output in &mut graph.output {
        output.name = Some(flat.clone());
    }
    trace.note_flattened(logits, (&flat, classes));
    *logits = flat;
}

/// New names for what stands where the gradient graph's own names go.
fn renaming(proto: &ModelProto, interface: &Interface) -> BTreeMap<String, String> {
    let mut names: Vec<&str> = Vec::new();
    if let Some(graph) = &proto.graph {
        names.extend(graph.initializer.iter().map(TensorProto::name));
        for node in &graph.node {
            names.push(node.name());
            names.extend(node.output.iter().map(String::as_str));
        }
    }
    let mut renamed = BTreeMap::new();
    for reserved in ADDED.iter().chain(&["logits"]).filter(|r| names.contains(r)) {
        let mut other = format!("{reserved}_of_model");
        while names.contains(&other.as_str()) {
            other.push('_');
        }
        renamed.insert((*reserved).to_owned(), other);
    }
    renamed.insert(interface.logits.value.clone(), "logits".to_owned());
    renamed
}

fn rename(proto: &mut ModelProto, renamed: &BTreeMap<String, String>) {
    let apply = |name: &mut String| {
        if let Some(new) = renamed.get(name) {
            name.clone_from(new);
        }
    };
    let apply_info = |info: &mut ValueInfoProto| info.name.iter_mut().for_each(apply);
    if let Some(graph) = &mut proto.graph {
        graph.initializer.iter_mut().flat_map(|t| &mut t.name).for_each(apply);
        graph.output.iter_mut().for_each(apply_info);
        for node in &mut graph.node {
            node.input.iter_mut().chain(&mut node.output).for_each(apply);
            node.name.iter_mut().for_each(apply);
        }
    }
}
