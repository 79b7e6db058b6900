//! Batch normalisation into the convolution before it.

use std::collections::BTreeMap;

use rift_models::arch::{Graph, Node, Op, Value};
use tch::Tensor;

use super::precision::cast;
use super::{Network, TorchError};

/// Where a tensor of the folded network comes from.
enum Source {
    /// Entries of the network, unchanged.
    Same(usize),
    /// Weight and bias of the convolution at a node, scaled by the batch normalisation after it.
    Folded { convolution: usize, norm: usize, eps: f64 },
}

impl Network {
    /// The same function in evaluation mode with fewer operators: every batch normalisation that
    /// alone follows a convolution becomes part of it, `W' = W γ/√(σ² + ε)` and
    /// `b' = β + (b − μ) γ/√(σ² + ε)`.
    ///
    /// The result has tensors of its own, of which nothing trains. An attack pays for the fold
    /// once and saves it in each of its passes, and the casts of the weights with it: they are
    /// folded in `f32` and kept as they are computed with. Logits differ from the network's by
    /// rounding.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn folded(&self) -> Result<Self, TorchError> {
        let (graph, sources) = self.fold_graph();
        tch::no_grad(|| {
            let mut values = Vec::with_capacity(self.entries.len());
            for source in sources {
                match source {
                    Source::Same(entry) => values.push(self.entries[entry].tensor.f_detach()?),
                    Source::Folded { convolution, norm, eps } => {
                        values.extend(self.fold_pair(convolution, norm, eps)?);
                    }
                }
            }
            let mut network = Self::assemble(graph, values, self.device)?;
            for entry in &mut network.entries {
                let op = &network.graph.nodes[entry.parameter.node].op;
                if matches!(op, Op::Conv2d { .. }) {
                    entry.tensor = cast(&entry.tensor, self.precision.kind(op))?;
                }
            }
            Ok(network.with_precision(self.precision))
        })
    }

    fn fold_graph(&self) -> (Graph, Vec<Source>) {
        let mut nodes: Vec<Node> = Vec::new();
        let mut sources = Vec::new();
        // Where each old node's value is in the new graph.
        let mut place: BTreeMap<usize, Value> = BTreeMap::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if let (Op::BatchNorm2d { eps, .. }, Some(convolution)) =
                (&node.op, self.convolution_before(index))
                && let Some(Value::Node(new)) = place.get(&convolution).copied()
            {
                if let Op::Conv2d { bias, .. } = &mut nodes[new].op {
                    *bias = true;
                }
                place.insert(index, Value::Node(new));
                sources.push((new, Source::Folded { convolution, norm: index, eps: *eps }));
                continue;
            }
            let new = nodes.len();
            let inputs = node.inputs.iter().map(|value| match value {
                Value::Input => Value::Input,
                Value::Node(old) => place[old],
            });
            nodes.push(Node { inputs: inputs.collect(), ..node.clone() });
            place.insert(index, Value::Node(new));
            let folds = self.is_folded(index);
            let parameters = if folds { 0 } else { node.op.params().len() };
            let first = self.first[index];
            sources.extend((first..first + parameters).map(|entry| (new, Source::Same(entry))));
        }
        // A fold is found after its convolution; the entries are in the order of the nodes.
        sources.sort_by_key(|(node, _)| *node);
        (Graph { nodes, ..self.graph.clone() }, sources.into_iter().map(|(_, s)| s).collect())
    }

    /// The convolution whose only reader is the batch normalisation at `norm`.
    fn convolution_before(&self, norm: usize) -> Option<usize> {
        match self.graph.nodes[norm].inputs[..] {
            [Value::Node(before)] if self.readers[before + 1] == 1 => {
                matches!(self.graph.nodes[before].op, Op::Conv2d { .. }).then_some(before)
            }
            _ => None,
        }
    }

    /// Whether the node is a convolution that a batch normalisation goes into.
    fn is_folded(&self, index: usize) -> bool {
        let norm = self.graph.nodes.iter().position(|node| {
            matches!(node.op, Op::BatchNorm2d { .. }) && node.inputs == [Value::Node(index)]
        });
        norm.is_some_and(|norm| self.convolution_before(norm) == Some(index))
    }

    fn fold_pair(&self, conv: usize, norm: usize, eps: f64) -> Result<[Tensor; 2], TorchError> {
        let entry = |node: usize, offset: usize| &self.entries[self.first[node] + offset].tensor;
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|offset| entry(norm, offset));
        let factor = scale.f_mul(&variance.f_add_scalar(eps)?.f_rsqrt()?)?;
        let weight = entry(conv, 0).f_mul(&factor.f_view([-1, 1, 1, 1])?)?;
        let mean = match self.graph.nodes[conv].op {
            Op::Conv2d { bias: true, .. } => mean.f_sub(entry(conv, 1))?,
            _ => mean.shallow_clone(),
        };
        let bias = shift.f_sub(&mean.f_mul(&factor)?)?;
        Ok([weight.f_detach()?, bias.f_detach()?])
    }
}

#[cfg(test)]
mod tests {
    use rift_models::arch::ArchSpec;
    use tch::{Device, Kind, Reduction};

    use super::super::{Mode, cross_entropy, device, gradient_of};
    use super::*;

    /// A block of a wide residual network: the value that the shortcut carries is normalised too,
    /// so only the batch normalisation inside the branch can be folded.
    fn pre_activation() -> Graph {
        let conv = |in_channels| Op::Conv2d {
            in_channels,
            out_channels: 4,
            kernel: 3,
            stride: 1,
            padding: 1,
            bias: false,
        };
        let norm = || Op::BatchNorm2d { channels: 4, eps: 1e-5, momentum: 0.1 };
        let operators = [
            ("conv1", conv(3)),
            ("bn1", norm()),
            ("relu1", Op::Relu),
            ("conv2", conv(4)),
            ("bn2", norm()),
            ("relu2", Op::Relu),
            ("conv3", conv(4)),
            ("add", Op::Add),
            ("bn3", norm()),
            ("relu3", Op::Relu),
            ("pool", Op::GlobalAvgPool),
            ("flatten", Op::Flatten),
            ("linear", Op::Linear { in_features: 4, out_features: 4, bias: true }),
        ];
        let nodes = operators.into_iter().enumerate().map(|(index, (name, op))| {
            let before = index.checked_sub(1).map_or(Value::Input, Value::Node);
            let inputs = if op == Op::Add { vec![Value::Node(0), before] } else { vec![before] };
            Node { name: name.to_owned(), op, inputs }
        });
        Graph { input: [3, 32, 32], classes: 4, nodes: nodes.collect() }
    }

    #[test]
    fn is_the_same_function() {
        device::set_threads(Some(1));
        let named = |name| ArchSpec::new(name, [3, 32, 32], 4).build().unwrap();
        for (name, graph, left) in [
            ("resnet8", named("resnet8"), 0),
            ("resnet18", named("resnet18"), 0),
            ("pre-activation", pre_activation(), 2),
        ] {
            let network = Network::initialise(graph, 1, Device::Cpu).unwrap();
            let x = (Tensor::arange(2 * 3072, (Kind::Float, Device::Cpu)) * 0.37).sin().abs();
            let x = x.view([2, 3, 32, 32]);
            let _ = network.forward(&x, Mode::Train).unwrap();
            let folded = network.folded().unwrap();
            let is_norm = |node: &&Node| matches!(node.op, Op::BatchNorm2d { .. });
            assert_eq!(folded.graph().nodes.iter().filter(is_norm).count(), left, "{name}");
            let labels = Tensor::from_slice(&[1i64, 2]);
            let loss = |logits: &Tensor| cross_entropy(logits, &labels, Reduction::Sum);
            let [ours, theirs] =
                [&folded, &network].map(|network| gradient_of(network, &x, loss).unwrap());
            for (ours, theirs) in [(ours.0, theirs.0), (ours.1, theirs.1)] {
                // In the mean: a ReLU whose input is zero but for rounding may flip, and with it
                // single values of the gradient.
                let error = ((&ours - &theirs).norm() / theirs.norm()).double_value(&[]);
                assert!(error < 1e-3, "{name}: {error}");
            }
        }
    }
}
