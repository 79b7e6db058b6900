//! What rounding adds to each logit on average, taken off the last layer's bias.
//!
//! Rounding errors do not cancel: a value that is rounded up moves everything behind it, and in the end
//! some classes gain on others. This is bias correction (Nagel et al. 2019, arXiv 1906.04721, section
//! 4.2) where all layers' errors have come together. It costs nothing when the model runs.

use ndarray::{Array1, Array2, Axis, Ix1};
use rift_models::onnx::{Attributes, GraphIndex, Model, tensor};

use super::QuantizeError;

/// How far the logits of `found` lie from those of `expected` on average, for each class.
pub fn mean_error(found: &Array2<f32>, expected: &Array2<f32>) -> Array1<f32> {
    let difference = found.mapv(f64::from) - expected.mapv(f64::from);
    difference.mean_axis(Axis(0)).unwrap_or_default().mapv(|error| error as f32)
}

/// `model` with `error` taken off the bias of its last layer; nothing where no `Gemm` with a bias of its
/// own comes last.
///
/// # Errors
/// If the bias cannot be read.
pub fn correct(model: &Model, error: &Array1<f32>) -> Result<Option<Model>, QuantizeError> {
    let index = GraphIndex::new(model)?;
    let made = index.outputs().first().and_then(|output| index.producer(output.name()));
    let Some(layer) = made.map(|at| &index.nodes()[at]).filter(|node| node.op_type() == "Gemm")
    else {
        return Ok(None);
    };
    let own = layer.input.get(2).filter(|name| index.consumers(name).len() == 1);
    let Some((name, stored)) = own.and_then(|name| Some((name, index.constant(name)?))) else {
        return Ok(None);
    };
    let is_scaled = Attributes::of(layer).float("beta")?.is_some_and(|beta| beta != 1.0);
    let bias = tensor::load::<f32>(stored)?.into_dimensionality::<Ix1>();
    let Some(bias) = bias.ok().filter(|bias| bias.len() == error.len() && !is_scaled) else {
        return Ok(None);
    };
    let mut proto = model.proto().clone();
    let stored = proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for tensor in stored.filter(|tensor| tensor.name() == name) {
        *tensor = tensor::store(name, &(&bias - error));
    }
    Ok(Some(Model::from_proto(proto)?))
}
