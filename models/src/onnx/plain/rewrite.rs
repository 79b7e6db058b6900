//! A graph that is written anew, node by node.

use ndarray::{arr0, aview1};

use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use crate::onnx::{Names, OnnxError, attribute, tensor};

/// The nodes that have been written, and names that nothing has.
pub(super) struct Rewrite<'g> {
    graph: &'g mut GraphProto,
    names: Names,
}

impl<'g> Rewrite<'g> {
    /// Hands every node of `graph` to `write`, which pushes what takes its place.
    pub(super) fn each(
        graph: &'g mut GraphProto,
        mut write: impl FnMut(&mut Rewrite<'_>, NodeProto) -> Result<(), OnnxError>,
    ) -> Result<(), OnnxError> {
        let names = Names::of(graph);
        let nodes = std::mem::take(&mut graph.node);
        let mut rewrite = Rewrite { graph, names };
        nodes.into_iter().try_for_each(|node| write(&mut rewrite, node))
    }

    /// Takes a finished node.
    pub(super) fn push(&mut self, node: NodeProto) {
        self.graph.node.push(node);
    }

    /// A node before `node`, named after it; returns its output.
    pub(super) fn before(
        &mut self,
        node: &NodeProto,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        let output =
            self.names.fresh(&format!("{}_{}", attribute::node_label(node), op.to_lowercase()));
        self.push(NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(output.clone()),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.clone()],
            attribute: attributes,
            ..NodeProto::default()
        });
        output
    }

    /// `result` in the shape of `input`, in the place of `node`.
    pub(super) fn reshape_to(&mut self, node: NodeProto, input: &str, result: String) {
        let shape = self.before(&node, "Shape", &[input], vec![]);
        self.push(NodeProto {
            op_type: Some("Reshape".to_owned()),
            input: vec![result, shape],
            attribute: Vec::new(),
            ..node
        });
    }

    /// A stored row of whole numbers.
    pub(super) fn integers(&mut self, stem: &str, values: &[i64]) -> String {
        self.store(tensor::store(stem, &aview1(values)))
    }

    /// A stored row of numbers.
    pub(super) fn floats(&mut self, stem: &str, values: &[f32]) -> String {
        self.store(tensor::store(stem, &aview1(values)))
    }

    /// A stored number.
    pub(super) fn scalar(&mut self, stem: &str, value: f32) -> String {
        self.store(tensor::store(stem, &arr0(value)))
    }

    fn store(&mut self, mut tensor: TensorProto) -> String {
        let name = self.names.fresh(tensor.name());
        tensor.name = Some(name.clone());
        self.graph.initializer.push(tensor);
        name
    }

    /// The stored numbers behind `value`.
    pub(super) fn stored(&self, value: &str) -> Option<&TensorProto> {
        let initializer = self.graph.initializer.iter().find(|t| t.name() == value);
        initializer.or_else(|| {
            let made = |n: &&NodeProto| {
                n.op_type() == "Constant" && n.output.iter().any(|output| output == value)
            };
            self.graph.node.iter().find(made)?.attribute.first()?.t.as_ref()
        })
    }
}
