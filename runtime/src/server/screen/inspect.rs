//! The first look: what a file says, before any other program reads it.

use rift_models::onnx::attribute::node_label;
use rift_models::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};
use rift_models::onnx::{Dim, GraphIndex, Model, TensorType, decode, tensor, unknown_field};

use super::growth;
use super::operators;
use super::{Limits, ScreenError, Violation};

/// What stands at bytes 4 to 8 of a file in ONNX Runtime's own format.
///
/// ONNX Runtime goes by these bytes alone, so a file could be one model to a reader of protobuf and
/// another one to it.
const ORT_FORMAT: &[u8] = b"ORTM";

/// Everything in a file that a classifier does not need, or needs less of.
///
/// # Errors
/// If the file is no model, its nodes do not make a graph, or there is any fault; all are named.
pub(super) fn inspect(bytes: &[u8], limits: &Limits) -> Result<Model, ScreenError> {
    let mut faults = Faults::default();
    let found = bytes.len() as u64;
    if found > limits.file {
        let problem = format!("has {found} bytes, expected at most {}", limits.file);
        faults.add("the file".to_owned(), problem);
        return Err(ScreenError::Refused(faults.0));
    }
    if bytes.get(4..8) == Some(ORT_FORMAT) {
        faults.add("the file".to_owned(), "is in ONNX Runtime's own format, expected ONNX".into());
        return Err(ScreenError::Refused(faults.0));
    }
    let proto = decode(bytes)?;
    if let Some(field) = unknown_field(bytes) {
        faults.add("the file".to_owned(), format!("has an unknown {field}"));
    }
    look_at_model(&proto, &mut faults);
    if let Some(graph) = &proto.graph {
        look_at_graph(graph, limits, &mut faults);
    }
    if !faults.0.is_empty() {
        return Err(ScreenError::Refused(faults.0));
    }
    let model = Model::from_proto(proto)?;
    faults.0 = growth::faults(&GraphIndex::new(&model)?, limits)?;
    if faults.0.is_empty() { Ok(model) } else { Err(ScreenError::Refused(faults.0)) }
}

#[derive(Default)]
struct Faults(Vec<Violation>);

impl Faults {
    fn add(&mut self, place: String, problem: String) {
        self.0.push(Violation { place, problem });
    }
}

/// How a node is named in an error.
pub(super) fn place(node: &NodeProto) -> String {
    format!("node `{}` ({})", node_label(node), node.op_type())
}

fn look_at_model(model: &ModelProto, faults: &mut Faults) {
    for function in &model.functions {
        let place = format!("the function `{}`", function.name());
        faults.add(place, "is a graph of its own, expected operators alone".to_owned());
    }
    if !model.training_info.is_empty() {
        faults.add("the model".to_owned(), "has graphs for training, expected none".to_owned());
    }
}

fn look_at_graph(graph: &GraphProto, limits: &Limits, faults: &mut Faults) {
    let found = graph.node.len();
    if found > limits.nodes {
        let problem = format!("has {found} nodes, expected at most {}", limits.nodes);
        faults.add("the graph".to_owned(), problem);
    }
    for sparse in &graph.sparse_initializer {
        let name = sparse.values.as_ref().map_or("", |values| values.name());
        faults.add(format!("the initialiser `{name}`"), "is sparse, expected dense".to_owned());
    }
    for initializer in &graph.initializer {
        if let Err(error) = tensor::check(initializer) {
            faults.add(format!("the initialiser `{}`", error.name), error.problem);
        }
    }
    for info in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
        look_at_declaration(info, limits, faults);
    }
    for node in &graph.node {
        look_at_node(node, faults);
    }
}

fn look_at_declaration(info: &ValueInfoProto, limits: &Limits, faults: &mut Faults) {
    let place = || format!("the value `{}`", info.name());
    if info.r#type.is_none() {
        return;
    }
    let Some(declared) = TensorType::of(info) else {
        faults.add(place(), "is a sequence or map, expected a tensor".to_owned());
        return;
    };
    let lengths = declared.dims.iter().flatten().filter_map(Dim::fixed);
    let product = lengths.map(|d| d as u64).try_fold(1u64, u64::checked_mul);
    if product.is_none_or(|product| product > limits.numbers) {
        let problem = format!("is {declared}, expected at most {} numbers", limits.numbers);
        faults.add(place(), problem);
    }
}

fn look_at_node(node: &NodeProto, faults: &mut Faults) {
    if !matches!(node.domain(), "" | "ai.onnx") {
        let problem = format!("is of the domain `{}`, expected ONNX's own", node.domain());
        faults.add(place(node), problem);
    } else if !operators::is_known(node.op_type()) {
        faults.add(place(node), "is no operator that classifiers are made of".to_owned());
    }
    for attribute in &node.attribute {
        if let Some(problem) = attribute_fault(attribute) {
            faults.add(place(node), format!("has an attribute `{}` {problem}", attribute.name()));
        }
    }
}

fn attribute_fault(attribute: &AttributeProto) -> Option<String> {
    if attribute.g.is_some() || !attribute.graphs.is_empty() {
        return Some("that is a graph, expected none".to_owned());
    }
    if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
        return Some("that is a sparse tensor, expected a dense one".to_owned());
    }
    let is_plain = attribute.tensors.is_empty()
        && attribute.tp.is_none()
        && attribute.type_protos.is_empty()
        && attribute.ref_attr_name().is_empty();
    if !is_plain {
        let expected = "that is no number, text or tensor, and no list of numbers or texts";
        return Some(expected.to_owned());
    }
    let broken = tensor::check(attribute.t.as_ref()?).err()?;
    Some(format!("whose tensor {}", broken.problem))
}
