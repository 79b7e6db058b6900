//! Which operators stand between the image and the logits, and whether each has a rule.

use std::collections::HashSet;

use rift_models::onnx::{DataType, GraphIndex, Model};

use super::error::{AutodiffError, Refusal, Unsupported};
use super::form::Form;
use super::forward::{plain_form, settled};
use super::interface::Interface;
use super::registry;
use super::rule::{Backward, Rule, View};
use super::rules::quantized;
use crate::session::trace::Trace;

/// Operators whose whole numbers or truth values carry no gradient in the usual sense: it is 0
/// wherever it exists.
const PIECEWISE_CONSTANT: [&str; 18] = [
    "Shape",
    "Size",
    "Sign",
    "Not",
    "And",
    "Or",
    "Xor",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Equal",
    "ArgMax",
    "ArgMin",
    "IsNaN",
    "IsInf",
    "NonZero",
    "TopK",
];

/// Says whether `model` can be differentiated from its image to its logits.
///
/// # Errors
/// [`AutodiffError::Unsupported`] lists every operator that is in the way, at once; the others say
/// that the model is no classifier or too old.
pub fn support(model: &Model, trace: &Trace) -> Result<(), AutodiffError> {
    support_at(model, trace, &Interface::of(model)?)
}

/// As [`support`], of the logits that `interface` names.
///
/// # Errors
/// As [`support`].
pub fn support_at(
    model: &Model,
    trace: &Trace,
    interface: &Interface,
) -> Result<(), AutodiffError> {
    let model = plain_form(model)?;
    let index = GraphIndex::new(&model)?;
    Path::find(&model, &index, trace, &settled(interface, trace)).map(|_| ())
}

/// The way from the image to the logits.
pub(super) struct Path<'a> {
    /// The values through which a gradient flows.
    pub(super) active: HashSet<&'a str>,
    /// The nodes that it flows through, in the order of the graph, with their rules.
    pub(super) nodes: Vec<(usize, Rule)>,
}

impl<'a> Path<'a> {
    /// Walks the graph and asks every node's rule.
    pub(super) fn find(
        model: &Model,
        index: &'a GraphIndex<'a>,
        trace: &'a Trace,
        interface: &'a Interface,
    ) -> Result<Self, AutodiffError> {
        let Walk { active, on_path, cut } = Walk::through(index, trace, interface);
        let mut path = Self { active, nodes: Vec::new() };
        let mut operators = Vec::new();
        for position in on_path {
            match path.ask(position, &cut, model.opset(), (index, trace)) {
                Ok(rule) => path.nodes.push((position, rule)),
                Err(unsupported) => operators.push(unsupported),
            }
        }
        if !operators.is_empty() {
            return Err(AutodiffError::Unsupported { operators });
        }
        if !path.active.contains(interface.logits.value.as_str()) {
            let (input, logits) = (interface.input.clone(), interface.logits.value.clone());
            return Err(AutodiffError::NoPath { input, logits });
        }
        Ok(path)
    }

    fn ask(
        &self,
        position: usize,
        cut: &HashSet<usize>,
        opset: i64,
        (index, trace): (&GraphIndex<'_>, &Trace),
    ) -> Result<Rule, Unsupported> {
        let node = &index.nodes()[position];
        // What can be differentiated can be in any form.
        let form = Form::default();
        let view = View { node, index, trace, opset, active: &self.active, form };
        let judge = || {
            if cut.contains(&position) {
                return Err(Refusal::new("its result has no gradient"));
            }
            let rule = registry::rule(node).ok_or_else(|| Refusal::new("no rule"))?;
            let mut later = node.output.iter().skip(1);
            if let Backward::First(_) = rule.backward
                && let Some(output) = later.find(|v| self.active.contains(v.as_str()))
            {
                return Err(Refusal(format!("the logits depend on its further output `{output}`")));
            }
            for value in node.input.iter().chain(&node.output) {
                let element = trace.get(value).map(|t| t.element);
                let is_known =
                    element == Some(DataType::Float) || quantized::carries(node.op_type(), element);
                if self.active.contains(value.as_str()) && !is_known {
                    let found = element.map_or("UNDEFINED", |e| e.as_str_name()).to_lowercase();
                    return Err(Refusal(format!("`{value}` is `{found}`, expected `float`")));
                }
            }
            (rule.check)(&view)?;
            Ok(rule)
        };
        judge().map_err(|refusal| view.unsupported(refusal))
    }
}

/// What lies between the image and the logits, before any rule is asked.
struct Walk<'a> {
    /// The values through which a gradient flows.
    active: HashSet<&'a str>,
    /// The nodes that it should flow through.
    on_path: Vec<usize>,
    /// Those of them in which it is lost.
    cut: HashSet<usize>,
}

impl<'a> Walk<'a> {
    fn through(index: &'a GraphIndex<'a>, trace: &Trace, interface: &'a Interface) -> Self {
        let is_float = |value: &str| trace.get(value).is_some_and(|t| t.element == DataType::Float);
        let element = |value: &str| trace.get(value).map(|t| t.element);
        let wanted = index.ancestors(&interface.logits.value);
        let mut active: HashSet<&str> = HashSet::from([interface.input.as_str()]);
        // What depends on the image where the gradient has been lost: whoever removes that obstacle
        // wants to know of those behind it.
        let mut lost: HashSet<&str> = HashSet::new();
        let (mut on_path, mut cut) = (Vec::new(), HashSet::new());
        for (position, node) in index.nodes().iter().enumerate() {
            let made = node.output.iter().map(String::as_str).filter(|v| wanted.contains(v));
            let made: Vec<&str> = made.collect();
            let reads = |set: &HashSet<&str>| node.input.iter().any(|v| set.contains(v.as_str()));
            let is_active = reads(&active);
            if !(is_active || reads(&lost)) || made.is_empty() {
                continue;
            }
            let is_source = |v: &&String| active.contains(v.as_str()) || lost.contains(v.as_str());
            let sources: Vec<DataType> =
                node.input.iter().filter(is_source).filter_map(|v| element(v)).collect();
            let passes = |v: &&str| is_float(v) || quantized::makes(node, &sources, element(v));
            let mut flows: Vec<&str> = made.iter().copied().filter(passes).collect();
            if node.op_type() == "Sign" {
                flows.clear();
            }
            if flows.is_empty() && PIECEWISE_CONSTANT.contains(&node.op_type()) {
                continue;
            }
            on_path.push(position);
            if is_active && !flows.is_empty() {
                active.extend(flows);
                continue;
            }
            // Whole numbers of which the gradient was lost before make no obstacle of their own.
            if flows.is_empty() && (is_active || sources.contains(&DataType::Float)) {
                cut.insert(position);
            }
            lost.extend(made);
        }
        Self { active, on_path, cut }
    }
}
