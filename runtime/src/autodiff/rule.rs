//! What a rule sees and what it returns.

use std::collections::HashSet;

use rift_models::onnx::attribute::node_label;
use rift_models::onnx::proto::{NodeProto, TensorProto};
use rift_models::onnx::{Attributes, DataType, GraphBuilder, GraphIndex};

use super::error::{Refusal, Unsupported};
use super::form::Form;
use crate::session::trace::{Length, Trace};

/// How one operator is differentiated.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// The operator, in ONNX's own domain.
    pub(super) op: &'static str,
    /// Whether the rule applies to a node, told before anything is built.
    pub(super) check: fn(&View<'_>) -> Result<(), Refusal>,
    /// Appends the reverse of a node.
    pub(super) backward: Backward,
}

/// The gradients of a node's outputs.
pub(super) type Gradients = [Option<String>];

/// The reverse of a node.
#[derive(Clone, Copy)]
pub(super) enum Backward {
    /// From the gradient of its first output; no gradient may flow through another.
    First(fn(&View<'_>, &str, &mut GraphBuilder) -> Result<Contributions, Refusal>),
    /// From the gradients of all its outputs; `None` where no gradient flows.
    Every(fn(&View<'_>, &Gradients, &mut GraphBuilder) -> Result<Contributions, Refusal>),
}

/// What a node's inputs receive: the input's number and a value of exactly its shape.
pub(super) type Contributions = Vec<(usize, String)>;

/// Accepts every node.
#[expect(clippy::unnecessary_wraps, reason = "the type that the rules share")]
pub(super) fn always(_: &View<'_>) -> Result<(), Refusal> {
    Ok(())
}

/// A node with what is known of its surroundings.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) index: &'a GraphIndex<'a>,
    pub(super) trace: &'a Trace,
    pub(super) opset: i64,
    /// The values through which a gradient flows.
    pub(super) active: &'a HashSet<&'a str>,
    /// How convolutions are to be differentiated.
    pub(super) form: Form,
}

impl<'a> View<'a> {
    /// The value at input `slot`; `None` if it is left out.
    pub(super) fn optional(&self, slot: usize) -> Option<&'a str> {
        self.node.input.get(slot).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The value at input `slot`.
    pub(super) fn input(&self, slot: usize) -> Result<&'a str, Refusal> {
        self.optional(slot).ok_or_else(|| Refusal(format!("input {slot} is missing")))
    }

    /// The first output.
    pub(super) fn output(&self) -> Result<&'a str, Refusal> {
        let first = self.node.output.first().map(String::as_str);
        first.ok_or_else(|| Refusal::new("it has no output"))
    }

    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.node)
    }

    /// Whether input `slot` needs a gradient.
    pub(super) fn is_active(&self, slot: usize) -> bool {
        self.optional(slot).is_some_and(|v| self.active.contains(v))
    }

    /// Refuses nodes of which another input than the first needs a gradient.
    pub(super) fn only_first_is_active(&self) -> Result<(), Refusal> {
        match (1..self.node.input.len()).find(|slot| self.is_active(*slot)) {
            Some(slot) => Err(Refusal(format!("input {slot} depends on the image"))),
            None => Ok(()),
        }
    }

    /// The shape of a value, none of whose dimensions is unknown.
    pub(super) fn shape(&self, value: &str) -> Result<&'a [Length], Refusal> {
        let shape = self.trace.get(value).map(|t| t.shape.as_slice());
        let shape = shape.ok_or_else(|| Refusal(format!("the shape of `{value}` is unknown")))?;
        if shape.contains(&Length::Varies) {
            return Err(Refusal(format!("the shape of `{value}` varies")));
        }
        Ok(shape)
    }

    /// The spatial lengths of an `N × C × …` value.
    pub(super) fn spatial(&self, value: &str) -> Result<Vec<usize>, Refusal> {
        let shape = self.shape(value)?;
        let lengths: Option<Vec<usize>> =
            shape.get(2..).unwrap_or(&[]).iter().map(|l| l.fixed()).collect();
        lengths
            .filter(|l| !l.is_empty())
            .ok_or_else(|| Refusal(format!("`{value}` is no batch of images")))
    }

    /// The length of one dimension, which must be the same in every run.
    pub(super) fn fixed(&self, value: &str, axis: usize) -> Result<usize, Refusal> {
        let length = self.shape(value)?.get(axis).and_then(|l| l.fixed());
        length.ok_or_else(|| Refusal(format!("dimension {axis} of `{value}` is not fixed")))
    }

    /// The tensor at input `slot`, if it is stored in the model as `f32`.
    pub(super) fn stored_floats(&self, slot: usize) -> Option<&'a TensorProto> {
        let constant = self.index.constant(self.optional(slot)?)?;
        (constant.data_type() == DataType::Float as i32).then_some(constant)
    }

    /// The numbers at input `slot`, stored or computed without the image; `None` if they are many, or
    /// the input is left out.
    pub(super) fn floats(&self, slot: usize) -> Option<&'a [f32]> {
        self.trace.floats(self.optional(slot)?)
    }

    /// The whole numbers at input `slot`, stored or computed without the image; `None` if the input
    /// is left out.
    pub(super) fn integers(&self, slot: usize) -> Result<Option<&'a [i64]>, Refusal> {
        let Some(value) = self.optional(slot) else { return Ok(None) };
        let known = self.trace.integers(value);
        known.map(Some).ok_or_else(|| Refusal(format!("`{value}` is not the same in every run")))
    }

    /// An axis counted from the front.
    pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
        let from_front = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(from_front)
            .ok()
            .filter(|a| *a < rank)
            .ok_or_else(|| Refusal(format!("axis {axis} of {rank} dimensions")))
    }

    /// Blames this node.
    pub(super) fn unsupported(&self, refusal: Refusal) -> Unsupported {
        let op = match self.node.domain() {
            "" | "ai.onnx" => self.node.op_type().to_owned(),
            domain => format!("{domain}.{}", self.node.op_type()),
        };
        Unsupported { node: node_label(self.node).to_owned(), op, reason: refusal.0 }
    }
}
