//! The float model in the form of which the plan knows most: constants as initialisers, linear layers
//! as `Gemm`, batch normalisations folded.
//!
//! Exporters write the same network in several ways. What is written anew gives the same numbers but
//! for their last bits, and a model without any of it stays as it is.

mod batch_norm;
mod constants;
mod dense;
mod rank;

use std::collections::BTreeSet;

use rift_models::onnx::proto::{NodeProto, TensorProto, ValueInfoProto};
use rift_models::onnx::{GraphIndex, Model, attribute};

use super::QuantizeError;
use super::rewrite::constants_are_no_inputs;

/// `model` in that form, nothing where it is already; batch normalisations stay unless `folds`.
///
/// # Errors
/// If a weight or the graph cannot be read.
pub fn prepare(model: &Model, folds: bool) -> Result<Option<Model>, QuantizeError> {
    let mut prepared = constants::gather(model)?;
    let dense = dense::lower(prepared.as_ref().unwrap_or(model))?;
    prepared = dense.or(prepared);
    if folds {
        let folded = batch_norm::fold(prepared.as_ref().unwrap_or(model))?;
        prepared = folded.or(prepared);
    }
    Ok(prepared)
}

/// Makes what a node is called its name: one without a name is called by its output, which will be
/// another.
fn keep_label(node: &mut NodeProto) {
    node.name = Some(attribute::node_label(node).to_owned());
}

/// `model` with these nodes, with `stored` in place of constants of the same names and without the
/// constants that nothing reads any more.
fn written(
    model: &Model,
    nodes: Vec<NodeProto>,
    mut stored: Vec<TensorProto>,
) -> Result<Model, QuantizeError> {
    let mut proto = model.proto().clone();
    constants_are_no_inputs(&mut proto);
    if let Some(graph) = &mut proto.graph {
        let replaced: BTreeSet<&str> = stored.iter().map(TensorProto::name).collect();
        let read: BTreeSet<&str> = nodes
            .iter()
            .flat_map(|node| node.input.iter().map(String::as_str))
            .chain(graph.output.iter().map(ValueInfoProto::name))
            .collect();
        let made: BTreeSet<&str> =
            nodes.iter().flat_map(|node| node.output.iter().map(String::as_str)).collect();
        let is_kept = |name: &str| read.contains(name) && !replaced.contains(name);
        graph.initializer.retain(|kept| is_kept(kept.name()));
        graph.value_info.retain(|declared| made.contains(declared.name()));
        graph.initializer.append(&mut stored);
        graph.node = nodes;
    }
    let written = Model::from_proto(proto)?;
    GraphIndex::new(&written)?;
    Ok(written)
}
