//! The interpreter of [`arch`](rift_models::arch) on libtorch.

use std::collections::BTreeMap;

use rift_models::arch::{Op, Value};
use tch::{Device, Tensor};

use super::build::slot;
use super::layout::channels_last;
use super::precision::cast;
use super::{Network, TorchError};

/// What batch normalisation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Normalises by the batch's statistics and moves the running ones.
    Train,
    /// Normalises by the batch's statistics and leaves the running ones alone.
    Batch,
    /// Normalises by the running statistics and leaves them alone.
    Eval,
}

/// The values that the nodes from `node` on need: a forward pass, cut before a node.
#[derive(Debug)]
pub struct Activations {
    node: usize,
    values: BTreeMap<Value, Tensor>,
}

impl Activations {
    /// The first node that is still to run.
    pub fn node(&self) -> usize {
        self.node
    }

    /// The values by where they come from; [`Network::forward_from`] never changes them.
    pub fn values(&self) -> &BTreeMap<Value, Tensor> {
        &self.values
    }
}

impl Network {
    /// The logits of `images`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Tensor, TorchError> {
        let mut values = self.no_values();
        values[0] = Some(channels_last(images)?);
        self.run(&mut values, [0, self.graph.nodes.len()], mode)?;
        logits(values)
    }

    /// Runs the nodes before `node` and keeps what the others need.
    ///
    /// While only the parameters of `node` and later ones change, the result stays the same: the
    /// criticality stage computes it once a batch.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn forward_until(
        &self,
        images: &Tensor,
        node: usize,
        mode: Mode,
    ) -> Result<Activations, TorchError> {
        let mut values = self.no_values();
        values[0] = Some(channels_last(images)?);
        let node = node.min(self.graph.nodes.len());
        self.run(&mut values, [0, node], mode)?;
        let live = values.into_iter().enumerate().filter_map(|(place, tensor)| {
            let value = place.checked_sub(1).map_or(Value::Input, Value::Node);
            Some((value, tensor?))
        });
        Ok(Activations { node, values: live.collect() })
    }

    /// Runs the nodes that `activations` leave over and gives the logits.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn forward_from(
        &self,
        activations: &Activations,
        mode: Mode,
    ) -> Result<Tensor, TorchError> {
        let mut values = self.no_values();
        for (value, tensor) in &activations.values {
            values[slot(*value)] = Some(tensor.shallow_clone());
        }
        self.run(&mut values, [activations.node, self.graph.nodes.len()], mode)?;
        logits(values)
    }

    fn no_values(&self) -> Vec<Option<Tensor>> {
        std::iter::repeat_with(|| None).take(self.graph.nodes.len() + 1).collect()
    }

    /// Runs the nodes `from..to`; a value is dropped with its last reader.
    fn run(
        &self,
        values: &mut [Option<Tensor>],
        [from, to]: [usize; 2],
        mode: Mode,
    ) -> Result<(), TorchError> {
        for index in from..to {
            let node = &self.graph.nodes[index];
            let first = self.take(values, node.inputs[0], index, from)?;
            let second = match node.inputs.get(1) {
                Some(value) => Some(self.take(values, *value, index, from)?.tensor),
                None => None,
            };
            values[index + 1] = Some(self.apply(index, first, second.as_ref(), mode)?);
        }
        Ok(())
    }

    /// The value as an input of node `reader`.
    fn take(
        &self,
        values: &mut [Option<Tensor>],
        value: Value,
        reader: usize,
        from: usize,
    ) -> Result<Operand, TorchError> {
        let place = slot(value);
        let last = self.last_use[place] == reader;
        // The backward passes of these operators do not need their outputs, so a sole reader may
        // overwrite one. Another reader may have kept it for its own backward pass, and what was
        // computed before this run belongs to the caller.
        let ours = self.readers[place] == 1
            && matches!(value, Value::Node(producer) if producer >= from && matches!(
                self.graph.nodes[producer].op,
                Op::Conv2d { .. } | Op::BatchNorm2d { .. } | Op::Add
            ));
        let tensor = if last {
            values[place].take()
        } else {
            values[place].as_ref().map(Tensor::shallow_clone)
        };
        let tensor = tensor.ok_or_else(|| TorchError::missing(&self.graph.nodes[reader].name))?;
        Ok(Operand { tensor, ours })
    }

    fn convolve(&self, index: usize, mut x: Tensor) -> Result<Tensor, TorchError> {
        let op = &self.graph.nodes[index].op;
        let Op::Conv2d { kernel, stride, padding, bias, .. } = *op else {
            return Err(TorchError::missing(&self.graph.nodes[index].name));
        };
        let parameter = |offset: usize| &self.entries[self.first[index] + offset].tensor;
        let kind = self.precision.kind(op);
        let mut stride = stride as i64;
        let trains = self.device == Device::Cpu && parameter(0).requires_grad();
        if kernel == 1 && padding == 0 && stride > 1 && trains {
            // The same, by reading only the positions that count. On processors libtorch 2.11
            // corrupts the heap in the weight gradient of a strided 1 × 1 convolution of few
            // channels in channels-last layout. The channels are moved last so that the gradient
            // is too.
            let pixels = x.f_permute([0, 2, 3, 1])?;
            let pixels = pixels.f_slice(1, None, None, stride)?.f_slice(2, None, None, stride)?;
            x = pixels.f_permute([0, 3, 1, 2])?;
            stride = 1;
        }
        let weight = cast(parameter(0), kind)?;
        let bias = if bias { Some(cast(parameter(1), kind)?) } else { None };
        let [stride, padding] = [stride, padding as i64].map(|n| [n; 2]);
        Ok(x.f_conv2d(&weight, bias, stride, padding, [1, 1], 1)?)
    }

    fn apply(
        &self,
        index: usize,
        x: Operand,
        second: Option<&Tensor>,
        mode: Mode,
    ) -> Result<Tensor, TorchError> {
        let Operand { tensor: x, ours } = x;
        let node = &self.graph.nodes[index];
        let parameter = |offset: usize| &self.entries[self.first[index] + offset].tensor;
        let mut x = cast(&x, self.precision.kind(&node.op))?;
        Ok(match node.op {
            Op::Normalize { .. } => {
                let [mean, std] = &self.constants[&index];
                x.f_sub(mean)?.f_div(std)?
            }
            Op::Conv2d { .. } => self.convolve(index, x)?,
            Op::BatchNorm2d { eps, momentum, .. } => {
                let [scale, shift, mean, var] = [0, 1, 2, 3].map(|offset| Some(parameter(offset)));
                let (mean, var) = if mode == Mode::Batch { (None, None) } else { (mean, var) };
                let train = mode != Mode::Eval;
                x.f_batch_norm(scale, shift, mean, var, train, momentum, eps, true)?
            }
            Op::Relu if ours => x.f_relu_()?,
            Op::Relu => x.f_relu()?,
            Op::Add => {
                let second = second.ok_or_else(|| TorchError::missing(&node.name))?;
                if ours { x.f_add_(second)? } else { x.f_add(second)? }
            }
            Op::AvgPool2d { kernel } => {
                let window = [kernel as i64; 2];
                x.f_avg_pool2d(window, window, [0, 0], false, true, None::<i64>)?
            }
            Op::GlobalAvgPool => x.f_adaptive_avg_pool2d([1, 1])?,
            Op::Flatten => x.f_flatten(1, -1)?,
            Op::Linear { bias, .. } => x.f_linear(parameter(0), bias.then(|| parameter(1)))?,
        })
    }
}

/// An input of an operator, and whether it may be overwritten.
struct Operand {
    tensor: Tensor,
    ours: bool,
}

/// The last value; [`Network::run`] has computed it.
fn logits(mut values: Vec<Option<Tensor>>) -> Result<Tensor, TorchError> {
    values.pop().flatten().ok_or_else(|| TorchError::missing("logits"))
}
