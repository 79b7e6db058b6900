//! A graph with its tensors on a device.

use std::collections::BTreeMap;
use std::path::Path;

use rift_models::arch::{Graph, Node, Op, Parameter, Value, init};
use rift_models::artifact::{Checkpoint, CheckpointMeta, Digest, TensorMap, apply};
use tch::{Device, Tensor};

use super::layout::channels_last;
use super::{NetworkError, Precision, TorchError, params};

/// A network on a device: a graph and its parameters and buffers as plain named tensors.
///
/// # Shapes
/// [`forward`](Self::forward) takes `N × C × H × W` pixels in `[0, 1]` and gives `N × classes`
/// logits.
#[derive(Debug)]
pub struct Network {
    pub(super) graph: Graph,
    pub(super) device: Device,
    pub(super) precision: Precision,
    /// Parameters and buffers in the order of [`Graph::params`].
    pub(super) entries: Vec<Entry>,
    /// Where each name is in `entries`.
    pub(super) index: BTreeMap<String, usize>,
    /// Where each node's first parameter is in `entries`.
    pub(super) first: Vec<usize>,
    /// Mean and standard deviation of the normalising nodes, `1 × C × 1 × 1`.
    pub(super) constants: BTreeMap<usize, [Tensor; 2]>,
    /// For the input and every node, the last node that reads it.
    pub(super) last_use: Vec<usize>,
    /// For the input and every node, how often it is read.
    pub(super) readers: Vec<usize>,
}

/// A parameter or buffer and its values.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) parameter: Parameter,
    pub(super) tensor: Tensor,
}

impl Network {
    /// A network that starts from PyTorch's distributions, drawn with `seed`.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn initialise(graph: Graph, seed: u64, device: Device) -> Result<Self, NetworkError> {
        let tensors = init::initialise(&graph, seed);
        Self::from_tensors(graph, &tensors, device)
    }

    /// A network with the weights of a checkpoint's tensor map.
    ///
    /// # Errors
    /// If the tensors are not exactly the graph's, or the device has too little memory.
    pub fn from_tensors(
        graph: Graph,
        tensors: &TensorMap,
        device: Device,
    ) -> Result<Self, NetworkError> {
        apply::check(&graph, tensors)?;
        let values = graph
            .params()
            .map(|p| channels_last(&params::to_tensor(&tensors[&p.name], device)?))
            .collect::<Result<Vec<_>, TorchError>>()?;
        Ok(Self::assemble(graph, values, device)?)
    }

    /// Reads a checkpoint and puts its network on `device`.
    ///
    /// # Errors
    /// If the file is not a checkpoint or names more or fewer classes than it has, or the device has
    /// too little memory.
    pub fn read(
        path: &Path,
        device: Device,
    ) -> Result<(Self, CheckpointMeta, Digest), NetworkError> {
        let (checkpoint, graph, digest) = Checkpoint::read(path)?;
        let (expected, found) = (graph.classes, checkpoint.meta.classes.len());
        if found != expected {
            let path = path.display().to_string();
            return Err(NetworkError::Classes { path, expected, found });
        }
        let network = Self::from_tensors(graph, &checkpoint.tensors, device)?;
        Ok((network, checkpoint.meta, digest))
    }

    /// Joins a graph and its tensors, which are in the order of [`Graph::params`].
    pub(super) fn assemble(
        graph: Graph,
        values: Vec<Tensor>,
        device: Device,
    ) -> Result<Self, TorchError> {
        let entries: Vec<Entry> = graph
            .params()
            .zip(values)
            .map(|(parameter, tensor)| Entry { parameter, tensor })
            .collect();
        let index =
            entries.iter().enumerate().map(|(i, e)| (e.parameter.name.clone(), i)).collect();
        let mut first = Vec::with_capacity(graph.nodes.len());
        let mut constants = BTreeMap::new();
        let mut position = 0;
        for (node, Node { op, .. }) in graph.nodes.iter().enumerate() {
            if let Op::Normalize { mean, std } = op {
                constants.insert(node, [by_channel(mean, device)?, by_channel(std, device)?]);
            }
            first.push(position);
            position += op.params().len();
        }
        let (last_use, readers) = uses(&graph);
        let precision = Precision::default();
        Ok(Self { graph, device, precision, entries, index, first, constants, last_use, readers })
    }

    /// The same network, computing in `precision`.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// In which numbers it computes.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The network as data.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Where its tensors are.
    pub fn device(&self) -> Device {
        self.device
    }
}

fn by_channel(values: &[f32], device: Device) -> Result<Tensor, TorchError> {
    let tensor = Tensor::f_from_slice(values)?.f_to_device(device)?;
    Ok(tensor.f_view([1, values.len() as i64, 1, 1])?)
}

/// The place of a value among those of a forward pass: the input first, then the nodes.
pub(super) fn slot(value: Value) -> usize {
    match value {
        Value::Input => 0,
        Value::Node(index) => index + 1,
    }
}

/// The last reader of every value, and how many there are.
fn uses(graph: &Graph) -> (Vec<usize>, Vec<usize>) {
    let mut last = vec![0; graph.nodes.len() + 1];
    let mut readers = last.clone();
    for (index, node) in graph.nodes.iter().enumerate() {
        for value in &node.inputs {
            last[slot(*value)] = index;
            readers[slot(*value)] += 1;
        }
    }
    // Nobody reads the logits: they outlive the pass.
    if let Some(logits) = last.last_mut() {
        *logits = usize::MAX;
    }
    (last, readers)
}
