//! Batch normalisations folded into the layers before them.
//!
//! The same as [`mod@crate::fold`] does to a checkpoint, on the graph of any model: a layer whose
//! weights become integers with a scale for each channel takes the normalisation's factor for nothing,
//! and what crosses to the next layer is rounded once and not twice.

use std::collections::BTreeSet;

use ndarray::{Array1, ArrayD, Axis, Ix1};
use rift_models::onnx::proto::{NodeProto, TensorProto};
use rift_models::onnx::{Attributes, GraphIndex, Model, Names, is_default_domain, tensor};

use super::super::QuantizeError;
use super::super::layers::is_layer;
use super::super::rewrite::row;

/// What a normalisation adds to the variance where it does not say.
const EPSILON: f32 = 1e-5;

/// `model` with the batch normalisations folded that alone read what a layer gives; nothing where there
/// are none.
///
/// # Errors
/// If the graph cannot be read.
pub(super) fn fold(model: &Model) -> Result<Option<Model>, QuantizeError> {
    let index = GraphIndex::new(model)?;
    let mut nodes = index.nodes().to_vec();
    let mut store = Store { index: &index, names: Names::of(model.graph()), stored: Vec::new() };
    let mut gone = BTreeSet::new();
    for (at, norm) in index.nodes().iter().enumerate() {
        let Some(layer) = layer_before(&index, at) else { continue };
        let Some((weight, bias)) = folded(&index, layer, norm) else { continue };
        let node = &mut nodes[layer];
        // The layer's bias where it has one, else the shift of the normalisation.
        let shift = node.input.get(2).filter(|name| !name.is_empty()).unwrap_or(&norm.input[2]);
        let shift = store.put(shift, tensor::store("", &bias));
        node.input.truncate(2);
        node.input.push(shift);
        node.input[1] = store.put(&node.input[1], tensor::store("", &weight));
        super::keep_label(node);
        node.output.clone_from(&norm.output);
        gone.insert(at);
    }
    if gone.is_empty() {
        return Ok(None);
    }
    let stored = store.stored;
    let kept = nodes.into_iter().enumerate().filter(|(at, _)| !gone.contains(at));
    super::written(model, kept.map(|(_, node)| node).collect(), stored).map(Some)
}

/// The layer that the normalisation at `at` can be folded into.
fn layer_before(index: &GraphIndex<'_>, at: usize) -> Option<usize> {
    let norm = &index.nodes()[at];
    let trains = Attributes::of(norm).int("training_mode").ok()?.is_some_and(|mode| mode != 0);
    let is_plain = norm.op_type() == "BatchNormalization"
        && is_default_domain(norm)
        && norm.output.len() == 1
        && norm.input.len() == 5;
    let value = norm.input.first()?;
    let is_output = index.outputs().iter().any(|output| output.name() == value.as_str());
    if trains || !is_plain || is_output || index.consumers(value) != [at] {
        return None;
    }
    let layer = index.producer(value)?;
    let node = &index.nodes()[layer];
    let is_transposed = node.op_type() == "ConvTranspose"
        && is_default_domain(node)
        && Attributes::of(node).int("group").ok()?.is_none_or(|group| group == 1);
    (is_layer(node) || is_transposed).then_some(layer)
}

/// Weight and bias of a layer with its normalisation in them; nothing where they are not stored or do
/// not fit.
fn folded(
    index: &GraphIndex<'_>,
    layer: usize,
    norm: &NodeProto,
) -> Option<(ArrayD<f32>, Array1<f32>)> {
    let layer = &index.nodes()[layer];
    let load = |value: &str| tensor::load::<f32>(index.constant(value)?).ok();
    let parameter = |slot: usize| load(&norm.input[slot])?.into_dimensionality::<Ix1>().ok();
    let [gamma, beta, mean, variance] =
        [parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?];
    let epsilon = Attributes::of(norm).float("epsilon").ok()?.unwrap_or(EPSILON);
    let mut weight = load(layer.input.get(1)?)?;
    let axis = channels(layer, weight.ndim())?;
    let n = weight.len_of(Axis(axis));
    let bias = match layer.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => row(&load(name)?, n, layer).ok()?,
        None => Array1::zeros(n),
    };
    if [&gamma, &beta, &mean, &variance].iter().any(|parameter| parameter.len() != n) {
        return None;
    }
    let factors = gamma.iter().zip(&variance).map(|(gamma, variance)| {
        f64::from(*gamma) / (f64::from(*variance) + f64::from(epsilon)).sqrt()
    });
    let factors: Array1<f64> = factors.collect();
    for (mut channel, factor) in weight.axis_iter_mut(Axis(axis)).zip(&factors) {
        channel.mapv_inplace(|w| (f64::from(w) * factor) as f32);
    }
    let shift = |c: usize| {
        ((f64::from(bias[c]) - f64::from(mean[c])) * factors[c] + f64::from(beta[c])) as f32
    };
    let bias = Array1::from_shape_fn(n, shift);
    let is_finite = weight.iter().chain(&bias).all(|number| number.is_finite());
    is_finite.then_some((weight, bias))
}

/// Along which dimension of a layer's weight its outputs lie.
fn channels(layer: &NodeProto, rank: usize) -> Option<usize> {
    let axis = match layer.op_type() {
        "Conv" => 0,
        "Gemm" => usize::from(Attributes::of(layer).int("transB").ok()?.unwrap_or(0) == 0),
        _ => 1,
    };
    (axis < rank).then_some(axis)
}

/// What is stored anew.
struct Store<'i, 'm> {
    index: &'i GraphIndex<'m>,
    names: Names,
    stored: Vec<TensorProto>,
}

impl Store<'_, '_> {
    /// Stores a tensor in the place of the constant `name`, or beside it where others read that too.
    fn put(&mut self, name: &str, mut tensor: TensorProto) -> String {
        let is_shared = self.index.consumers(name).len() > 1
            || self.index.outputs().iter().any(|output| output.name() == name);
        let name = if is_shared { self.names.fresh(name) } else { name.to_owned() };
        tensor.name = Some(name.clone());
        self.stored.push(tensor);
        name
    }
}
