//! Who makes and who reads each value of a graph.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ndarray::{arr0, aview1};

use super::attribute::node_label;
use super::proto::attribute_proto::AttributeType;
use super::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::{Model, TensorError, tensor};

/// Nodes that do not make a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two things make one value.
    #[error("value `{value}` has two producers, expected one")]
    TwoProducers {
        /// The value.
        value: String,
    },
    /// A node reads what nothing before it makes.
    #[error("node `{node}` reads `{value}`, which no input, initialiser or earlier node makes")]
    NotMade {
        /// The node.
        node: String,
        /// The value.
        value: String,
    },
    /// The graph's output is made by nothing.
    #[error("no node makes the output `{value}`")]
    OutputNotMade {
        /// The output.
        value: String,
    },
    /// A `Constant` node holds something else than one tensor of numbers.
    #[error("the constant `{node}` holds no tensor of numbers")]
    Constant {
        /// The node.
        node: String,
    },
    /// A value that must be known when the graph is read is computed.
    #[error("node `{node}` needs `{value}` to be a constant")]
    NotConstant {
        /// The node.
        node: String,
        /// The value.
        value: String,
    },
    /// A constant is not what its reader needs.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// An index over a graph whose nodes stand in topological order.
#[derive(Debug)]
pub struct GraphIndex<'m> {
    graph: &'m GraphProto,
    producer: HashMap<&'m str, usize>,
    consumers: HashMap<&'m str, Vec<usize>>,
    constants: HashMap<&'m str, Cow<'m, TensorProto>>,
    inputs: Vec<&'m ValueInfoProto>,
}

impl<'m> GraphIndex<'m> {
    /// Indexes the graph of `model`.
    ///
    /// # Errors
    /// If a value has two producers, or is read before it is made.
    pub fn new(model: &'m Model) -> Result<Self, GraphError> {
        let graph = model.graph();
        let constants: HashMap<&str, _> =
            graph.initializer.iter().map(|t| (t.name(), Cow::Borrowed(t))).collect();
        // Old models list their initialisers among the inputs, as defaults.
        let inputs: Vec<_> =
            graph.input.iter().filter(|i| !constants.contains_key(i.name())).collect();
        let mut index =
            Self { graph, producer: HashMap::new(), consumers: HashMap::new(), constants, inputs };
        let mut made: HashSet<&str> = HashSet::new();
        let sources = index.inputs.iter().map(|i| i.name());
        for name in sources.chain(graph.initializer.iter().map(TensorProto::name)) {
            make(&mut made, name)?;
        }
        for (position, node) in graph.node.iter().enumerate() {
            index.add(position, node, &mut made)?;
        }
        match graph.output.iter().find(|o| !made.contains(o.name())) {
            Some(output) => Err(GraphError::OutputNotMade { value: output.name().to_owned() }),
            None => Ok(index),
        }
    }

    fn add(
        &mut self,
        position: usize,
        node: &'m NodeProto,
        made: &mut HashSet<&'m str>,
    ) -> Result<(), GraphError> {
        for value in node.input.iter().filter(|v| !v.is_empty()) {
            if !made.contains(value.as_str()) {
                let (node, value) = (node_label(node).to_owned(), value.clone());
                return Err(GraphError::NotMade { node, value });
            }
            self.consumers.entry(value).or_default().push(position);
        }
        for value in node.output.iter().filter(|v| !v.is_empty()) {
            make(made, value)?;
            self.producer.insert(value, position);
        }
        if node.op_type() == "Constant" && is_default_domain(node) {
            let constant = constant_of(node)?;
            if let Some(value) = node.output.first() {
                self.constants.insert(value, constant);
            }
        }
        Ok(())
    }

    /// The nodes, in topological order.
    pub fn nodes(&self) -> &'m [NodeProto] {
        &self.graph.node
    }

    /// What the caller must give: the graph's inputs without the initialisers.
    pub fn inputs(&self) -> &[&'m ValueInfoProto] {
        &self.inputs
    }

    /// The graph's outputs.
    pub fn outputs(&self) -> &'m [ValueInfoProto] {
        &self.graph.output
    }

    /// The node that makes `value`; `None` for inputs and initialisers.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producer.get(value).copied()
    }

    /// The nodes that read `value`, a node once for each time it does.
    pub fn consumers(&self, value: &str) -> &[usize] {
        self.consumers.get(value).map_or(&[], Vec::as_slice)
    }

    /// The tensor behind an initialiser or the output of a `Constant` node.
    pub fn constant(&self, value: &str) -> Option<&TensorProto> {
        self.constants.get(value).map(Cow::as_ref)
    }

    /// The constant that input `slot` of `node` must be.
    ///
    /// # Errors
    /// If it is computed or not there.
    pub fn constant_input(
        &self,
        node: &NodeProto,
        slot: usize,
    ) -> Result<&TensorProto, GraphError> {
        let value = node.input.get(slot).map_or("", String::as_str);
        self.constant(value).ok_or_else(|| GraphError::NotConstant {
            node: node_label(node).to_owned(),
            value: value.to_owned(),
        })
    }

    /// The values that are computed from `source`, itself among them.
    pub fn descendants(&self, source: &'m str) -> HashSet<&'m str> {
        let mut reached = HashSet::from([source]);
        for node in &self.graph.node {
            if node.input.iter().any(|v| reached.contains(v.as_str())) {
                reached.extend(node.output.iter().map(String::as_str).filter(|v| !v.is_empty()));
            }
        }
        reached
    }

    /// The values that `target` is computed from, itself among them.
    pub fn ancestors(&self, target: &'m str) -> HashSet<&'m str> {
        let mut reached = HashSet::from([target]);
        for node in self.graph.node.iter().rev() {
            if node.output.iter().any(|v| reached.contains(v.as_str())) {
                reached.extend(node.input.iter().map(String::as_str).filter(|v| !v.is_empty()));
            }
        }
        reached
    }
}

/// Whether a node's operator belongs to ONNX itself.
pub fn is_default_domain(node: &NodeProto) -> bool {
    matches!(node.domain(), "" | "ai.onnx")
}

fn make<'m>(made: &mut HashSet<&'m str>, value: &'m str) -> Result<(), GraphError> {
    if made.insert(value) {
        return Ok(());
    }
    Err(GraphError::TwoProducers { value: value.to_owned() })
}

fn constant_of(node: &NodeProto) -> Result<Cow<'_, TensorProto>, GraphError> {
    let wrong = || GraphError::Constant { node: node_label(node).to_owned() };
    let [attribute] = node.attribute.as_slice() else { return Err(wrong()) };
    let stored = match attribute.r#type() {
        AttributeType::Tensor => return attribute.t.as_ref().map(Cow::Borrowed).ok_or_else(wrong),
        AttributeType::Float => tensor::store("", &arr0(attribute.f())),
        AttributeType::Int => tensor::store("", &arr0(attribute.i())),
        AttributeType::Floats => tensor::store("", &aview1(&attribute.floats)),
        AttributeType::Ints => tensor::store("", &aview1(&attribute.ints)),
        _ => return Err(wrong()),
    };
    Ok(Cow::Owned(stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::ModelProto;
    use crate::onnx::{DataType, Dim, GraphBuilder, attribute};

    fn residual() -> Model {
        let mut builder = GraphBuilder::new("residual", 17);
        let x = builder.input("x", DataType::Float, &[Dim::Fixed(2)]).unwrap();
        let two = builder.node("Constant", &[], vec![attribute::float("value_float", 2.0)]);
        let bias = builder.floats("bias", &[1.0, 2.0]);
        let y = builder.node("Mul", &[&x, &two], vec![]);
        let z = builder.node("Add", &[&x, &bias], vec![]);
        let sum = builder.node("Add", &[&y, &z], vec![]);
        builder.output(&sum, DataType::Float, &[Dim::Fixed(2)]);
        builder.finish().unwrap()
    }

    fn changed(change: impl FnOnce(&mut GraphProto)) -> Model {
        let mut proto: ModelProto = residual().into_proto();
        change(proto.graph.as_mut().unwrap());
        Model::from_proto(proto).unwrap()
    }

    #[test]
    fn producers_consumers_and_constants() {
        let model = residual();
        let index = GraphIndex::new(&model).unwrap();
        assert_eq!(index.consumers("x"), [1, 2]);
        assert_eq!(index.producer("x"), None);
        let two = index.nodes()[0].output[0].as_str();
        let value = tensor::load::<f32>(index.constant(two).unwrap()).unwrap();
        assert_eq!(value, arr0(2.0).into_dyn());
        assert!(index.constant("x").is_none());
        assert!(index.constant_input(&index.nodes()[1], 0).is_err());
        let reached = index.descendants("x");
        assert!(!reached.contains(two) && !reached.contains("bias"));
        let sum = index.outputs()[0].name();
        assert!(reached.contains(sum) && index.ancestors(sum).contains(two));
    }

    #[test]
    fn an_initialiser_that_is_also_an_input_is_a_constant() {
        let model = changed(|g| {
            g.input.push(ValueInfoProto { name: Some("bias".into()), ..Default::default() });
        });
        let index = GraphIndex::new(&model).unwrap();
        assert_eq!(index.inputs().len(), 1);
        assert!(index.constant("bias").is_some());
    }

    #[test]
    fn disorder_is_refused() {
        let swapped = changed(|g| g.node.reverse());
        assert!(matches!(GraphIndex::new(&swapped), Err(GraphError::NotMade { .. })));
        let twice = changed(|g| g.node[2].output = g.node[1].output.clone());
        assert!(matches!(GraphIndex::new(&twice), Err(GraphError::TwoProducers { .. })));
        let itself = changed(|g| g.node[1].input[0] = g.node[1].output[0].clone());
        assert!(matches!(GraphIndex::new(&itself), Err(GraphError::NotMade { .. })));
        let dangling = changed(|g| g.output[0].name = Some("nowhere".into()));
        assert!(matches!(GraphIndex::new(&dangling), Err(GraphError::OutputNotMade { .. })));
        let text = changed(|g| g.node[0].attribute = vec![attribute::string("value_string", "a")]);
        assert!(matches!(GraphIndex::new(&text), Err(GraphError::Constant { .. })));
    }
}
