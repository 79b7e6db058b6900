//! Batch normalisation folded into the layer before it.
//!
//! In evaluation mode a batch normalisation is an affine map of each channel,
//!
//! ```text
//! y = γ (x − μ) / √(σ² + ε) + β
//! ```
//!
//! and a convolution or linear layer that feeds nothing else absorbs it:
//!
//! ```text
//! W′ = W · γ / √(σ² + ε)        b′ = (b − μ) · γ / √(σ² + ε) + β
//! ```
//!
//! One that reads a sum, as in a pre-activation network, has nothing to be folded into and stays.

use std::collections::BTreeMap;

use ndarray::{ArrayD, Axis, IxDyn};
use rift_models::arch::{Graph, Node, Op, Role, Value};
use rift_models::artifact::TensorMap;

/// A network whose batch normalisations are folded where they can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// The network, without the folded nodes; the layers that absorbed one have a bias.
    pub graph: Graph,
    /// Its parameters and running statistics.
    pub tensors: TensorMap,
    /// How many batch normalisations were folded.
    pub folded: usize,
}

/// A network that cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// A parameter is missing.
    #[error("no tensor `{0}`")]
    Missing(String),
    /// A tensor has another length than its batch normalisation has channels.
    #[error("`{name}` has {found} values, expected one for each of {expected} channels")]
    Length {
        /// The tensor.
        name: String,
        /// Channels.
        expected: usize,
        /// Values in the tensor.
        found: usize,
    },
    /// A running variance that no batch can have.
    #[error("`{node}` has the running variance {found} in channel {channel}, expected at least 0")]
    Variance {
        /// The batch normalisation.
        node: String,
        /// The channel.
        channel: usize,
        /// Its variance.
        found: f32,
    },
    /// A folded weight beyond the range of `f32`.
    #[error("folding `{node}` gives a value that is not finite in channel {channel}")]
    NotFinite {
        /// The batch normalisation.
        node: String,
        /// The channel.
        channel: usize,
    },
}

/// The batch normalisations that can be folded, by node index, with the layer that absorbs each:
/// its only input is a convolution or a linear layer whose only reader it is.
pub fn plan(graph: &Graph) -> BTreeMap<usize, usize> {
    let mut readers = vec![0_usize; graph.nodes.len()];
    for node in &graph.nodes {
        for input in &node.inputs {
            if let Value::Node(index) = *input {
                readers[index] += 1;
            }
        }
    }
    let absorbs = |index: usize| {
        let is_layer = matches!(graph.nodes[index].op, Op::Conv2d { .. } | Op::Linear { .. });
        is_layer && readers[index] == 1
    };
    graph
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(index, node)| match (&node.op, &node.inputs[..]) {
            (Op::BatchNorm2d { .. }, &[Value::Node(layer)]) if absorbs(layer) => {
                Some((index, layer))
            }
            _ => None,
        })
        .collect()
}

/// Folds every batch normalisation that [`plan`] names, in `f64`, rounded to `f32` once.
///
/// # Errors
/// If a tensor is missing or does not fit, or the statistics are not those of a batch.
pub fn fold(graph: &Graph, mut tensors: TensorMap) -> Result<Folded, FoldError> {
    graph.nodes.iter().try_for_each(|node| check_variance(&tensors, node))?;
    let plan = plan(graph);
    let mut layers: BTreeMap<usize, Op> = BTreeMap::new();
    for (&norm, &layer) in &plan {
        absorb(&mut tensors, &graph.nodes[layer], &graph.nodes[norm])?;
        layers.insert(layer, with_bias(&graph.nodes[layer].op));
    }
    let mut nodes: Vec<Node> = Vec::with_capacity(graph.nodes.len() - plan.len());
    let mut moved: Vec<Value> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        if let Some(&layer) = plan.get(&index) {
            moved.push(moved[layer]);
            continue;
        }
        let follow = |value: &Value| match *value {
            Value::Input => Value::Input,
            Value::Node(index) => moved[index],
        };
        nodes.push(Node {
            name: node.name.clone(),
            op: layers.remove(&index).unwrap_or_else(|| node.op.clone()),
            inputs: node.inputs.iter().map(follow).collect(),
        });
        moved.push(Value::Node(nodes.len() - 1));
    }
    let graph = Graph { input: graph.input, classes: graph.classes, nodes };
    Ok(Folded { graph, tensors, folded: plan.len() })
}

/// Checks the running variance of a batch normalisation, folded or not: a negative one would give
/// logits that are not numbers.
fn check_variance(tensors: &TensorMap, norm: &Node) -> Result<(), FoldError> {
    let of_variance = norm.op.params().into_iter().find(|p| p.role == Role::RunningVar);
    let tensor = of_variance.and_then(|p| tensors.get(&format!("{}.{}", norm.name, p.suffix)));
    let negative = |tensor: &ArrayD<f32>| {
        tensor.iter().copied().enumerate().find(|(_, variance)| *variance < 0.0)
    };
    match tensor.and_then(negative) {
        Some((channel, found)) => {
            Err(FoldError::Variance { node: norm.name.clone(), channel, found })
        }
        None => Ok(()),
    }
}

fn with_bias(op: &Op) -> Op {
    let mut op = op.clone();
    if let Op::Conv2d { bias, .. } | Op::Linear { bias, .. } = &mut op {
        *bias = true;
    }
    op
}

/// Moves the batch normalisation `norm` from `tensors` into the weight and bias of `layer`.
fn absorb(tensors: &mut TensorMap, layer: &Node, norm: &Node) -> Result<(), FoldError> {
    let affine = Affine::take(tensors, norm)?;
    let weight_name = format!("{}.weight", layer.name);
    let bias_name = format!("{}.bias", layer.name);
    let channels = affine.scale.len();
    let mut weight =
        tensors.remove(&weight_name).ok_or_else(|| FoldError::Missing(weight_name.clone()))?;
    if weight.shape().first() != Some(&channels) {
        let found = weight.shape().first().copied().unwrap_or(1);
        return Err(FoldError::Length { name: weight_name, expected: channels, found });
    }
    let old_bias = tensors.remove(&bias_name).map(|b| b.iter().copied().collect::<Vec<f32>>());
    if let Some(found) = old_bias.as_ref().map(Vec::len).filter(|found| *found != channels) {
        return Err(FoldError::Length { name: bias_name, expected: channels, found });
    }
    let mut bias = Vec::with_capacity(channels);
    for (channel, mut row) in weight.axis_iter_mut(Axis(0)).enumerate() {
        let scale = affine.scale[channel];
        row.mapv_inplace(|w| (f64::from(w) * scale) as f32);
        let old = old_bias.as_ref().map_or(0.0, |b| f64::from(b[channel]));
        let shifted = old.mul_add(scale, affine.shift[channel]) as f32;
        if !shifted.is_finite() || !row.iter().all(|w| w.is_finite()) {
            return Err(FoldError::NotFinite { node: norm.name.clone(), channel });
        }
        bias.push(shifted);
    }
    tensors.insert(weight_name, weight);
    tensors.insert(bias_name, ArrayD::from_shape_fn(IxDyn(&[channels]), |i| bias[i[0]]));
    Ok(())
}

/// A batch normalisation in evaluation mode: `y = scale · x + shift` for each channel.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    /// Takes the four tensors of the batch normalisation `norm` out of `tensors`.
    fn take(tensors: &mut TensorMap, norm: &Node) -> Result<Self, FoldError> {
        let eps = match norm.op {
            Op::BatchNorm2d { eps, .. } => eps,
            _ => 0.0,
        };
        let mut gamma = Vec::new();
        let mut beta = Vec::new();
        let mut mean = Vec::new();
        let mut variance = Vec::new();
        for param in norm.op.params() {
            let name = format!("{}.{}", norm.name, param.suffix);
            let tensor = tensors.remove(&name).ok_or_else(|| FoldError::Missing(name.clone()))?;
            let expected: usize = param.shape.iter().product();
            if tensor.len() != expected {
                return Err(FoldError::Length { name, expected, found: tensor.len() });
            }
            let values = tensor.iter().copied().map(f64::from).collect();
            match param.role {
                Role::Scale | Role::Weight => gamma = values,
                Role::Shift | Role::Bias => beta = values,
                Role::RunningMean => mean = values,
                Role::RunningVar => variance = values,
            }
        }
        let scale: Vec<f64> =
            gamma.iter().zip(&variance).map(|(g, v)| g / (v + eps).sqrt()).collect();
        let shift =
            beta.iter().zip(&mean).zip(&scale).map(|((b, m), s)| (-m).mul_add(*s, *b)).collect();
        Ok(Self { scale, shift })
    }
}

#[cfg(test)]
mod tests {
    use rift_models::arch::{ArchSpec, init};

    use super::*;

    /// A convolution of one position, so that its arithmetic is a matrix product.
    fn pointwise(bias: bool) -> (Graph, TensorMap) {
        let conv =
            Op::Conv2d { in_channels: 2, out_channels: 3, kernel: 1, stride: 1, padding: 0, bias };
        let nodes = vec![
            Node { name: "conv".into(), op: conv, inputs: vec![Value::Input] },
            Node {
                name: "bn".into(),
                op: Op::BatchNorm2d { channels: 3, eps: 1e-5, momentum: 0.1 },
                inputs: vec![Value::Node(0)],
            },
            Node { name: "relu".into(), op: Op::Relu, inputs: vec![Value::Node(1)] },
        ];
        let graph = Graph { input: [2, 1, 1], classes: 3, nodes };
        let mut tensors = init::initialise(&graph, 5);
        let set = |values: [f32; 3]| ArrayD::from_shape_fn(IxDyn(&[3]), |i| values[i[0]]);
        tensors.insert("bn.weight".into(), set([0.5, -1.25, 2.0]));
        tensors.insert("bn.bias".into(), set([0.1, 0.2, -0.3]));
        tensors.insert("bn.running_mean".into(), set([0.7, -0.4, 0.05]));
        tensors.insert("bn.running_var".into(), set([0.9, 1e-7, 4.0]));
        (graph, tensors)
    }

    #[test]
    fn equals_the_unfolded_arithmetic() {
        for bias in [false, true] {
            let (graph, tensors) = pointwise(bias);
            let folded = fold(&graph, tensors.clone()).unwrap();
            let x = [0.3_f64, -1.7];
            for channel in 0..3 {
                let at = |name: &str| f64::from(tensors[name][[channel].as_slice()]);
                let dot = |tensors: &TensorMap| -> f64 {
                    let w = &tensors["conv.weight"];
                    (0..2).map(|i| x[i] * f64::from(w[[channel, i, 0, 0].as_slice()])).sum()
                };
                let conv = dot(&tensors) + if bias { at("conv.bias") } else { 0.0 };
                let spread = (at("bn.running_var") + 1e-5).sqrt();
                let expected =
                    at("bn.weight") * (conv - at("bn.running_mean")) / spread + at("bn.bias");
                let found = dot(&folded.tensors)
                    + f64::from(folded.tensors["conv.bias"][[channel].as_slice()]);
                // Two roundings to f32 of values up to 400: channel 1 has a tiny variance.
                assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }

    #[test]
    fn the_folded_network_is_exactly_described_by_its_graph() {
        let graph = ArchSpec::new("resnet18", [3, 32, 32], 10).build().unwrap();
        let folded = fold(&graph, init::initialise(&graph, 0)).unwrap();
        assert_eq!(folded.folded, 20);
        assert_eq!(folded.graph.nodes.len(), graph.nodes.len() - 20);
        assert_eq!(folded.graph.shapes().unwrap().last().unwrap(), &[10]);
        let names: Vec<String> = folded.graph.params().map(|p| p.name).collect();
        assert_eq!(names.len(), folded.tensors.len());
        for parameter in folded.graph.params() {
            assert_eq!(folded.tensors[&parameter.name].shape(), parameter.spec.shape);
        }
    }

    #[test]
    fn what_reads_a_sum_or_shares_its_input_stays() {
        let graph = ArchSpec::new("wrn28-10", [3, 32, 32], 10).build().unwrap();
        let folded: Vec<&str> =
            plan(&graph).keys().map(|index| graph.nodes[*index].name.as_str()).collect();
        // The second of every block, and the one right after the stem.
        assert_eq!(folded.len(), 13);
        assert_eq!(folded[..2], ["block1.layer.0.bn1", "block1.layer.0.bn2"]);

        let (mut graph, tensors) = pointwise(false);
        graph.nodes[2].op = Op::Add;
        graph.nodes[2].inputs = vec![Value::Node(0), Value::Node(1)];
        let unfolded = fold(&graph, tensors.clone()).unwrap();
        assert_eq!((unfolded.folded, unfolded.graph, unfolded.tensors), (0, graph, tensors));
    }

    #[test]
    fn refuses_statistics_that_no_batch_has() {
        let (graph, tensors) = pointwise(false);
        let with = |name: &str, value: f32| {
            let mut tensors = tensors.clone();
            tensors.insert(name.to_owned(), ArrayD::from_elem(IxDyn(&[3]), value));
            fold(&graph, tensors).unwrap_err().to_string()
        };
        assert!(with("bn.running_var", -1.0).contains("`bn` has the running variance -1"));
        assert!(with("bn.weight", f32::MAX).contains("not finite in channel 1"));
        let mut tensors = tensors.clone();
        tensors.remove("bn.running_mean");
        let message = fold(&graph, tensors).unwrap_err().to_string();
        assert_eq!(message, "no tensor `bn.running_mean`");
    }
}
