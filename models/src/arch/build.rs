//! Appending operators to a graph.

use super::{Graph, Node, Op, Value};

/// Builds a [`Graph`] node by node.
pub(super) struct Builder {
    graph: Graph,
}

impl Builder {
    /// Starts a network that normalises its input.
    pub(super) fn new(
        input: [usize; 3],
        classes: usize,
        mean: &[f32],
        std: &[f32],
    ) -> (Self, Value) {
        let mut builder = Self { graph: Graph { input, classes, nodes: Vec::new() } };
        let op = Op::Normalize { mean: mean.to_vec(), std: std.to_vec() };
        let value = builder.push("normalize", op, &[Value::Input]);
        (builder, value)
    }

    /// Appends an operator and returns its output.
    pub(super) fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[Value]) -> Value {
        self.graph.nodes.push(Node { name: name.into(), op, inputs: inputs.to_vec() });
        Value::Node(self.graph.nodes.len() - 1)
    }

    /// A convolution without bias that keeps the size at stride 1.
    pub(super) fn conv(
        &mut self,
        name: String,
        x: Value,
        io: [usize; 2],
        kernel: usize,
        stride: usize,
    ) -> Value {
        let [in_channels, out_channels] = io;
        let padding = kernel / 2;
        let op = Op::Conv2d { in_channels, out_channels, kernel, stride, padding, bias: false };
        self.push(name, op, &[x])
    }

    /// Batch normalisation with PyTorch's defaults.
    pub(super) fn batch_norm(&mut self, name: String, x: Value, channels: usize) -> Value {
        self.push(name, Op::BatchNorm2d { channels, eps: 1e-5, momentum: 0.1 }, &[x])
    }

    /// A rectifier.
    pub(super) fn relu(&mut self, name: String, x: Value) -> Value {
        self.push(name, Op::Relu, &[x])
    }

    /// The graph.
    pub(super) fn finish(self) -> Graph {
        self.graph
    }
}
