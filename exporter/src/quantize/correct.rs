//! What rounding adds to each logit on average, taken off the last layer's bias.
//!
//! Rounding errors do not cancel: a value that is rounded up moves everything behind it, and in the end
//! some classes gain on others. This is bias correction (Nagel et al. 2019, arXiv 1906.04721, section
//! 4.2) where all layers' errors have come together. It costs nothing when the model runs.

use ndarray::{Array1, Array2, Axis, Ix1};
use rift_models::onnx::{Attributes, DataType, Dim, GraphIndex, Model, TensorType, tensor};

use super::QuantizeError;
use super::tail::passed;

/// The last layer, where its bias can make up for an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// What it gives: the logits.
    value: String,
    /// The name of its bias.
    name: String,
    /// Its bias.
    bias: Array1<f32>,
}

impl Last {
    /// The last layer before the output `output` of `model`, past a softmax or a shape; nothing where
    /// that is no `Gemm` with a bias of its own.
    ///
    /// # Errors
    /// If the bias cannot be read.
    pub fn of(model: &Model, output: &str) -> Result<Option<Self>, QuantizeError> {
        let index = GraphIndex::new(model)?;
        let mut value = output;
        let layer = loop {
            let Some(node) = index.producer(value).map(|at| &index.nodes()[at]) else {
                return Ok(None);
            };
            match passed(&index, node) {
                Some(source) => value = source,
                None if node.op_type() == "Gemm" => break node,
                None => return Ok(None),
            }
        };
        let own = layer.input.get(2).filter(|name| index.consumers(name).len() == 1);
        let Some((name, stored)) = own.and_then(|name| Some((name, index.constant(name)?))) else {
            return Ok(None);
        };
        let is_scaled = Attributes::of(layer).float("beta")?.is_some_and(|beta| beta != 1.0);
        let bias = tensor::load::<f32>(stored)?.into_dimensionality::<Ix1>();
        let last = |bias| Self { value: value.to_owned(), name: name.clone(), bias };
        Ok(bias.ok().filter(|_| !is_scaled).map(last))
    }

    /// `model` up to the logits, where something stands behind them.
    ///
    /// # Errors
    /// If that is no model.
    pub fn bare(&self, model: &Model) -> Result<Option<Model>, QuantizeError> {
        if model.graph().output.iter().any(|output| output.name() == self.value) {
            return Ok(None);
        }
        let dims = vec![Dim::Free(None), Dim::Fixed(self.bias.len())];
        let logits = TensorType { element: DataType::Float, dims: Some(dims) };
        let mut proto = model.proto().clone();
        if let Some(graph) = &mut proto.graph {
            graph.output = vec![logits.declare(&self.value)];
        }
        Ok(Some(Model::from_proto(proto)?))
    }

    /// `model` with `error` taken off the bias; nothing where it has another length.
    ///
    /// # Errors
    /// If that is no model.
    pub fn correct(
        &self,
        model: &Model,
        error: &Array1<f32>,
    ) -> Result<Option<Model>, QuantizeError> {
        if self.bias.len() != error.len() {
            return Ok(None);
        }
        let mut proto = model.proto().clone();
        let stored = proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
        for tensor in stored.filter(|tensor| tensor.name() == self.name) {
            *tensor = tensor::store(&self.name, &(&self.bias - error));
        }
        Ok(Some(Model::from_proto(proto)?))
    }
}

/// How far the logits of `found` lie from those of `expected` on average, for each class.
pub fn mean_error(found: &Array2<f32>, expected: &Array2<f32>) -> Array1<f32> {
    let difference = found.mapv(f64::from) - expected.mapv(f64::from);
    difference.mean_axis(Axis(0)).unwrap_or_default().mapv(|error| error as f32)
}
