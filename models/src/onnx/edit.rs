//! Writing graphs: nodes and initialisers appended under fresh names.

use std::collections::BTreeMap;

use ndarray::{ArrayRef, Dimension, aview0, aview1};

use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use super::tensor::{self, Element};
use super::{DataType, Dim, GraphError, GraphIndex, Model, Names, OnnxError, TensorType};

/// A graph in the making, new or grown from a model.
///
/// Every value gets a name that no other value has, so what is appended cannot change the meaning
/// of what is there. The same calls give the same names and the same bytes.
#[derive(Debug)]
pub struct GraphBuilder {
    proto: ModelProto,
    graph: GraphProto,
    names: Names,
}

impl GraphBuilder {
    /// An empty graph in version `opset` of the default operator set.
    pub fn new(name: &str, opset: i64) -> Self {
        let default_domain =
            OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) };
        let proto = ModelProto {
            ir_version: Some(ir_version(opset)),
            opset_import: vec![default_domain],
            producer_name: Some("rift".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..ModelProto::default()
        };
        let graph = GraphProto { name: Some(name.to_owned()), ..GraphProto::default() };
        Self { proto, graph, names: Names::default() }
    }

    /// Goes on where `model` ends.
    pub fn extending(model: Model) -> Self {
        let opset = model.opset();
        let mut proto = model.into_proto();
        let graph = proto.graph.take().unwrap_or_default();
        // Before version 4 of the format, initialisers had to be inputs as well.
        proto.ir_version = Some(proto.ir_version().max(ir_version(opset)));
        let names = Names::of(&graph);
        Self { proto, graph, names }
    }

    /// A name that nothing has yet: `stem`, or `stem_1`, `stem_2` …
    pub fn fresh(&mut self, stem: &str) -> String {
        self.names.fresh(stem)
    }

    /// Declares an input of exactly this name.
    ///
    /// # Errors
    /// If something has the name already.
    pub fn input(
        &mut self,
        name: &str,
        element: DataType,
        dims: &[Dim],
    ) -> Result<String, GraphError> {
        if !self.names.take(name) {
            return Err(GraphError::TwoProducers { value: name.to_owned() });
        }
        let declared = TensorType { element, dims: Some(dims.to_vec()) };
        self.graph.input.push(declared.declare(name));
        Ok(name.to_owned())
    }

    /// Declares `value` an output.
    pub fn output(&mut self, value: &str, element: DataType, dims: &[Dim]) {
        let declared = TensorType { element, dims: Some(dims.to_vec()) };
        self.graph.output.push(declared.declare(value));
    }

    /// Takes back all outputs, so that others can be declared.
    pub fn clear_outputs(&mut self) {
        self.graph.output.clear();
    }

    /// Appends a node with one output, whose name is made from the operator's; returns that name.
    ///
    /// An empty input name is an optional input that is left out.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.named_node(&op.to_lowercase(), op, inputs, attributes)
    }

    /// Appends a node with one output; both are called `stem`, or like it where that is taken.
    pub fn named_node(
        &mut self,
        stem: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output = self.fresh(stem);
        self.push(&output, op, inputs, attributes, vec![output.clone()]);
        output
    }

    /// Appends a node whose single output has exactly the name `output`.
    ///
    /// # Errors
    /// If something has the name already.
    pub fn node_making(
        &mut self,
        output: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> Result<(), GraphError> {
        if !self.names.take(output) {
            return Err(GraphError::TwoProducers { value: output.to_owned() });
        }
        self.push(output, op, inputs, attributes, vec![output.to_owned()]);
        Ok(())
    }

    /// Appends a node with `outputs` outputs; returns their names.
    pub fn node_with_outputs(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        outputs: usize,
    ) -> Vec<String> {
        let stem = op.to_lowercase();
        let made: Vec<String> = (0..outputs).map(|_| self.fresh(&stem)).collect();
        let name = made.first().cloned().unwrap_or_default();
        self.push(&name, op, inputs, attributes, made.clone());
        made
    }

    fn push(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        output: Vec<String>,
    ) {
        self.graph.node.push(NodeProto {
            name: Some(name.to_owned()),
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output,
            attribute,
            ..NodeProto::default()
        });
    }

    /// Adds an initialiser under the tensor's own name, or one like it; returns the name.
    pub fn constant(&mut self, mut tensor: TensorProto) -> String {
        let stem = if tensor.name().is_empty() { "constant" } else { tensor.name() }.to_owned();
        let name = self.fresh(&stem);
        tensor.name = Some(name.clone());
        self.graph.initializer.push(tensor);
        name
    }

    /// Adds an array as an initialiser; returns its name.
    pub fn array<T: Element, D: Dimension>(
        &mut self,
        stem: &str,
        array: &ArrayRef<T, D>,
    ) -> String {
        self.constant(tensor::store(stem, array))
    }

    /// Adds a row of numbers as an initialiser; returns its name.
    pub fn floats(&mut self, stem: &str, values: &[f32]) -> String {
        self.array(stem, &aview1(values))
    }

    /// Adds a single number of no dimension as an initialiser; returns its name.
    pub fn scalar(&mut self, stem: &str, value: f32) -> String {
        self.array(stem, &aview0(&value))
    }

    /// Adds a row of whole numbers (a shape, axes, pads) as an initialiser; returns its name.
    pub fn integers(&mut self, stem: &str, values: &[i64]) -> String {
        self.array(stem, &aview1(values))
    }

    /// Adds to what the model says about itself.
    pub fn metadata(&mut self, metadata: &BTreeMap<String, String>) {
        self.proto.metadata_props.extend(metadata.iter().map(|(key, value)| {
            super::proto::StringStringEntryProto {
                key: Some(key.clone()),
                value: Some(value.clone()),
            }
        }));
    }

    /// The finished model.
    ///
    /// # Errors
    /// If it has no output, reads what nothing makes or is otherwise no model.
    pub fn finish(mut self) -> Result<Model, OnnxError> {
        if self.graph.output.is_empty() {
            return Err(OnnxError::Missing { what: "output" });
        }
        self.proto.graph = Some(self.graph);
        let model = Model::from_proto(self.proto)?;
        GraphIndex::new(&model)?;
        Ok(model)
    }
}

/// The version of the file format that came with an operator set.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19 | 20 => 9,
        21 | 22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_unique_when_a_model_grows() {
        let mut builder = GraphBuilder::new("g", 17);
        let x = builder.input("relu_1", DataType::Float, &[Dim::Fixed(1)]).unwrap();
        let y = builder.node("Relu", &[&x], vec![]);
        let z = builder.node("Relu", &[&y], vec![]);
        assert_eq!([y.as_str(), z.as_str()], ["relu", "relu_2"]);
        assert!(builder.input("relu", DataType::Float, &[]).is_err());
        builder.output(&z, DataType::Float, &[Dim::Fixed(1)]);
        let mut builder = GraphBuilder::extending(builder.finish().unwrap());
        assert_eq!(builder.node("Relu", &[&z], vec![]), "relu_3");
        assert_eq!(builder.scalar("relu", 0.0), "relu_4");
        assert!(builder.node_making("relu", "Relu", &[&z], vec![]).is_err());
    }

    #[test]
    fn a_graph_that_reads_nothing_made_is_not_finished() {
        let mut builder = GraphBuilder::new("g", 17);
        let y = builder.node("Relu", &["x"], vec![]);
        builder.output(&y, DataType::Float, &[Dim::Fixed(1)]);
        assert!(matches!(builder.finish(), Err(OnnxError::Graph(GraphError::NotMade { .. }))));
        let empty = GraphBuilder::new("g", 17);
        assert!(matches!(empty.finish(), Err(OnnxError::Missing { .. })));
    }
}
