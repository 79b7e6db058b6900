//! Which nodes compute on integers, and which values cross between them as such.
//!
//! ONNX Runtime runs a node on integers where integers come in and go out: `DequantizeLinear` before
//! each input, `QuantizeLinear` after the output, nothing in between and no other reader. Hence
//!
//! - a convolution whose only reader is a ReLU is quantised after that, and its range is the ReLU's;
//!   a `Clip` from 0 on is a ReLU too, and is left out: the bytes end where it does;
//! - a residual addition is quantised at both inputs;
//! - a value that is quantised for one reader is quantised for all;
//! - what only moves numbers (`Flatten`, `MaxPool`) has one grid on both sides;
//! - the logits stay float: the last layer takes integers and gives numbers, whatever stands behind it;
//! - another output of the model is the number that it was, and its readers have it as integers.

use std::collections::{BTreeMap, BTreeSet};

use rift_models::onnx::proto::NodeProto;
use rift_models::onnx::{GraphIndex, is_default_domain, tensor};

use super::layers::layers;
use super::tail::tail;

/// What becomes integers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The nodes that compute on integers, layers among them.
    pub nodes: BTreeSet<usize>,
    /// The values that are integers between their maker and their readers, each with the value whose
    /// range it has: itself, or what it was moved from.
    pub values: BTreeMap<String, String>,
    /// The `Clip` nodes that bytes make superfluous, each with its upper bound.
    pub absorbed: BTreeMap<usize, f32>,
}

/// The first operator that computes on integers already.
pub fn already_quantized<'m>(index: &GraphIndex<'m>) -> Option<&'m str> {
    let is_integer = |op: &str| {
        op.contains("QuantizeLinear")
            || op.contains("DequantizeLinear")
            || op.starts_with("QLinear")
            || op.starts_with("QGemm")
            || op.ends_with("Integer")
    };
    index.nodes().iter().map(NodeProto::op_type).find(|op| is_integer(op))
}

impl Plan {
    /// The plan for a graph whose layers are integers but for those named.
    pub fn new(index: &GraphIndex<'_>, float_layers: &BTreeSet<String>) -> Self {
        let layers = layers(index);
        let chosen = layers.into_iter().filter(|layer| !float_layers.contains(&layer.name));
        let mut planner = Planner {
            index,
            nodes: chosen.map(|layer| layer.node).collect(),
            integers: BTreeSet::new(),
            tail: tail(index),
        };
        for node in 0..index.nodes().len() {
            planner.consider(node);
        }
        let values = planner.values();
        let absorbed = planner.absorbed(&values);
        Self { nodes: planner.nodes, values, absorbed }
    }
}

struct Planner<'i, 'm> {
    index: &'i GraphIndex<'m>,
    nodes: BTreeSet<usize>,
    /// The values that the nodes so far make on integers.
    integers: BTreeSet<String>,
    /// The logits, and what becomes of them.
    tail: BTreeSet<&'m str>,
}

impl Planner<'_, '_> {
    /// Adds the node where it can compute on integers too, and notes what it gives.
    fn consider(&mut self, at: usize) {
        let node = &self.index.nodes()[at];
        let is_integer = |value: &String| self.integers.contains(value);
        let joins = match node.op_type() {
            "Add" if node.output.iter().any(|value| self.tail.contains(value.as_str())) => false,
            "Add" => {
                node.input.iter().all(|value| self.index.constant(value).is_none())
                    && node.input.iter().any(is_integer)
            }
            "GlobalAveragePool" | "AveragePool" => {
                node.input.iter().all(is_integer) && self.feeds_integers(at)
            }
            _ => false,
        };
        if joins {
            self.nodes.insert(at);
        }
        let gives = self.nodes.contains(&at)
            || (self.ceiling(at).is_some() && node.input.first().is_some_and(is_integer))
            || (moves(node) && node.input.first().is_some_and(is_integer));
        if gives {
            self.integers.extend(node.output.iter().cloned());
        }
    }

    /// Whether every reader of the node's output, past what only moves it, is a layer on integers.
    fn feeds_integers(&self, at: usize) -> bool {
        let node = &self.index.nodes()[at];
        let readers = node.output.iter().flat_map(|value| self.index.consumers(value));
        let mut readers = readers.peekable();
        readers.peek().is_some()
            && readers.all(|reader| {
                let node = &self.index.nodes()[*reader];
                self.nodes.contains(reader) || (moves(node) && self.feeds_integers(*reader))
            })
    }

    fn values(&self) -> BTreeMap<String, String> {
        let mut values: BTreeSet<String> = BTreeSet::new();
        for &at in &self.nodes {
            let node = &self.index.nodes()[at];
            let read = if node.op_type() == "Add" { 2 } else { 1 };
            values.extend(node.input.iter().take(read).cloned());
            let made = node.output.first().map(|value| self.settled(value));
            let made = made.filter(|value| !self.is_output(value) && !self.tail.contains(value));
            values.extend(made.map(str::to_owned));
        }
        // What is moved has the grid of what it was moved from, which is then quantised too.
        let mut origins = BTreeMap::new();
        for value in values {
            let mut origin = value.clone();
            origins.insert(value.clone(), origin.clone());
            let mut chain = vec![value];
            while let Some(source) = self.moved_from(&origin) {
                origin = source.to_owned();
                chain.push(origin.clone());
            }
            origins.extend(chain.into_iter().map(|value| (value, origin.clone())));
        }
        origins
    }

    /// The value after the ReLU, where that is the only reader.
    fn settled<'v>(&'v self, value: &'v str) -> &'v str {
        let made = self.activation(value).and_then(|at| self.index.nodes()[at].output.first());
        made.map_or(value, String::as_str)
    }

    /// The ReLU that alone reads `value`.
    fn activation(&self, value: &str) -> Option<usize> {
        match self.index.consumers(value) {
            [reader] if !self.is_output(value) => {
                self.ceiling(*reader).is_some().then_some(*reader)
            }
            _ => None,
        }
    }

    /// The largest number that a ReLU gives: none but memory's, or that of a `Clip` from 0 on.
    fn ceiling(&self, at: usize) -> Option<f32> {
        let node = &self.index.nodes()[at];
        let bound = |slot: usize| {
            let stored = tensor::load::<f32>(self.index.constant(node.input.get(slot)?)?).ok()?;
            stored.first().copied().filter(|_| stored.len() == 1)
        };
        match node.op_type() {
            _ if !is_default_domain(node) => None,
            "Relu" => Some(f32::INFINITY),
            "Clip" if bound(1) != Some(0.0) => None,
            "Clip" if node.input.get(2).is_none_or(String::is_empty) => Some(f32::INFINITY),
            "Clip" => bound(2).filter(|most| *most > 0.0),
            _ => None,
        }
    }

    /// The `Clip` nodes between a node on integers and its bytes.
    fn absorbed(&self, values: &BTreeMap<String, String>) -> BTreeMap<usize, f32> {
        let absorbed = |at: &usize| {
            let clip = self.activation(self.index.nodes()[*at].output.first()?)?;
            let node = &self.index.nodes()[clip];
            let made = node.output.first()?;
            let is_bytes = values.contains_key(made) && !self.is_output(made);
            (node.op_type() == "Clip" && is_bytes).then_some((clip, self.ceiling(clip)?))
        };
        self.nodes.iter().filter_map(absorbed).collect()
    }

    fn moved_from(&self, value: &str) -> Option<&str> {
        let node = &self.index.nodes()[self.index.producer(value)?];
        moves(node).then(|| node.input.first().map(String::as_str)).flatten()
    }

    fn is_output(&self, value: &str) -> bool {
        self.index.outputs().iter().any(|output| output.name() == value)
    }
}

/// Whether a node gives some of the numbers that it reads, and no others.
fn moves(node: &NodeProto) -> bool {
    matches!(node.op_type(), "Flatten" | "MaxPool" | "Identity")
        || (node.op_type() == "Reshape" && node.input.len() == 2)
}

#[cfg(test)]
mod tests {
    use rift_models::arch::{ArchSpec, init};

    use super::*;
    use crate::fold::fold;
    use crate::lower::lower;

    fn plan(float_layers: &[&str]) -> (Plan, Vec<String>) {
        let graph = ArchSpec::new("resnet8", [3, 32, 32], 10).build().unwrap();
        let folded = fold(&graph, init::initialise(&graph, 0)).unwrap();
        let model = lower("n", &folded.graph, &folded.tensors, &BTreeMap::new()).unwrap();
        let index = GraphIndex::new(&model).unwrap();
        let float_layers = float_layers.iter().map(|&name| name.to_owned()).collect();
        let plan = Plan::new(&index, &float_layers);
        let name = |at: &usize| index.nodes()[*at].name().to_owned();
        let names = plan.nodes.iter().map(name).collect();
        (plan, names)
    }

    #[test]
    fn everything_but_normalisation_relu_and_flatten_is_on_integers() {
        let (plan, nodes) = plan(&[]);
        assert_eq!(nodes.len(), 9 + 3 + 1 + 1, "{nodes:?}");
        assert!(nodes.contains(&"layer1.0.add".to_owned()) && nodes.contains(&"linear".to_owned()));
        // A convolution before a ReLU crosses as what the ReLU makes of it.
        assert!(plan.values.contains_key("relu1") && !plan.values.contains_key("conv1"));
        assert!(plan.values.contains_key("layer1.0.conv2"));
        assert!(!plan.values.contains_key("logits"));
        assert_eq!(plan.values["flatten"], plan.values["pool"]);
    }

    #[test]
    fn around_a_layer_in_float_the_rest_stays() {
        let (plan, nodes) = plan(&["linear", "conv1"]);
        assert_eq!(nodes.len(), 12 - 1, "{nodes:?}");
        for name in ["linear", "conv1", "pool"] {
            assert!(!nodes.contains(&name.to_owned()), "{nodes:?}");
        }
        assert!(plan.values.contains_key("relu1") && !plan.values.contains_key("normalize"));
        assert!(!plan.values.contains_key("flatten"));
    }
}
