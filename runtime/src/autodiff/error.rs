//! Why a model cannot be differentiated.

use rift_models::onnx::{AttributeError, GraphError, OnnxError, TensorError};

/// One operator that cannot be differentiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The node, by its name or its first output.
    pub node: String,
    /// Its operator, with the domain if that is not ONNX's own.
    pub op: String,
    /// What is in the way.
    pub reason: String,
}

/// A model that cannot be differentiated.
#[derive(Debug, thiserror::Error)]
pub enum AutodiffError {
    /// The operator set is older than the rules.
    #[error(
        "the model uses operator set {found}, gradients need {oldest} or newer: convert it with \
         `onnx.version_converter`"
    )]
    Opset {
        /// The model's operator set.
        found: i64,
        /// The oldest that the rules know.
        oldest: i64,
    },
    /// The model cannot be brought into the form that the rules know.
    #[error("the model cannot be rewritten for its gradient")]
    Model(#[source] OnnxError),
    /// The model is no image classifier.
    #[error("expected {expected}, found {found}")]
    Interface {
        /// What a classifier has.
        expected: &'static str,
        /// What the model has.
        found: String,
    },
    /// Operators between the image and the logits cannot be differentiated.
    #[error("{} between image and logits without a gradient: {}", counted(.operators), listed(.operators))]
    Unsupported {
        /// All of them, in the order of the graph.
        operators: Vec<Unsupported>,
    },
    /// The logits do not depend on the image in a way that has a gradient.
    #[error("no differentiable path leads from the input `{input}` to the logits `{logits}`")]
    NoPath {
        /// The input.
        input: String,
        /// The logits.
        logits: String,
    },
    /// The nodes do not make a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The extended graph is no model.
    #[error("the gradient graph is not valid")]
    Onnx(#[from] OnnxError),
}

fn counted(operators: &[Unsupported]) -> String {
    match operators.len() {
        1 => "1 operator".to_owned(),
        count => format!("{count} operators"),
    }
}

fn listed(operators: &[Unsupported]) -> String {
    let line = |u: &Unsupported| format!("`{}` ({}): {}", u.node, u.op, u.reason);
    operators.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Why a rule does not apply to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) String);

impl Refusal {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        let AttributeError { attribute, expected, found, .. } = error;
        Self(format!("attribute `{attribute}`: expected {expected}, found {found}"))
    }
}

impl From<GraphError> for Refusal {
    fn from(error: GraphError) -> Self {
        Self(error.to_string())
    }
}

impl From<TensorError> for Refusal {
    fn from(error: TensorError) -> Self {
        Self(error.to_string())
    }
}
