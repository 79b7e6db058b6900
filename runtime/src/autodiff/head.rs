//! Losses on the logits, with labels and targets as inputs of the graph.

use rift_models::onnx::{DataType, Dim, GraphBuilder, GraphError, attribute};

use super::emit;
use super::interface::Interface;

/// What an attack wants to increase, for each image by itself.
///
/// The gradient is that of the sum over the batch, so every image gets the gradient of its own loss,
/// whatever else is in the batch. Labels and targets must be below the number of classes; one beyond
/// is no class at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// `−log softmax(z)_y`. The gradient at the true class is computed as the sum of the other
    /// probabilities rather than `softmax(z)_y − 1`, so that it does not vanish where the model is
    /// too sure for `f32`.
    CrossEntropy,
    /// `max_{j≠y} z_j − z_y`: positive where the model is wrong (Carlini & Wagner 2017, f₆).
    Margin,
    /// `z_t − z_y` with a target class `t` from the further input `targets`.
    LogitDifference,
}

/// A loss in a graph: its value for each image and its gradient by the logits.
pub(super) struct Loss {
    pub(super) loss: String,
    pub(super) gradient: String,
}

impl Head {
    /// The graph's inputs besides the image, each int64 \[N\].
    pub fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::CrossEntropy | Self::Margin => &["labels"],
            Self::LogitDifference => &["labels", "targets"],
        }
    }

    /// Appends the loss on `logits` and its gradient.
    pub(super) fn append(
        self,
        interface: &Interface,
        classes: usize,
        builder: &mut GraphBuilder,
    ) -> Result<Loss, GraphError> {
        let batch: &[Dim] = &interface.dims[..1];
        for name in self.inputs() {
            builder.input(name, DataType::Int64, batch)?;
        }
        let logits = interface.logits.value.as_str();
        let label = one_hot("labels", classes, builder);
        Ok(match self {
            Self::CrossEntropy => cross_entropy(logits, &label, builder),
            Self::Margin => {
                let lowest = builder.scalar("lowest", f32::MIN);
                let is_label = builder.node(
                    "Cast",
                    &[&label],
                    vec![attribute::int("to", DataType::Bool as i64)],
                );
                let others = builder.node("Where", &[&is_label, &lowest, logits], vec![]);
                let axis = [attribute::int("axis", 1), attribute::int("keepdims", 0)];
                let best = builder.node("ArgMax", &[&others], axis.to_vec());
                let best = one_hot(&best, classes, builder);
                difference(logits, &best, &label, builder)
            }
            Self::LogitDifference => {
                let target = one_hot("targets", classes, builder);
                difference(logits, &target, &label, builder)
            }
        })
    }
}

fn one_hot(indices: &str, classes: usize, builder: &mut GraphBuilder) -> String {
    let depth = builder.integers("classes", &[classes as i64]);
    let values = builder.floats("off_on", &[0.0, 1.0]);
    builder.node("OneHot", &[indices, &depth, &values], vec![attribute::int("axis", 1)])
}

fn sum_of_classes(value: &str, builder: &mut GraphBuilder) -> String {
    let axes = builder.integers("axes", &[1]);
    builder.node("ReduceSum", &[value, &axes], vec![attribute::int("keepdims", 0)])
}

fn cross_entropy(logits: &str, label: &str, builder: &mut GraphBuilder) -> Loss {
    let log = builder.node("LogSoftmax", &[logits], vec![attribute::int("axis", 1)]);
    let of_label = builder.node("Mul", &[&log, label], vec![]);
    let of_label = sum_of_classes(&of_label, builder);
    let loss = builder.node("Neg", &[&of_label], vec![]);
    let probability = builder.node("Exp", &[&log], vec![]);
    let at_label = builder.node("Mul", &[&probability, label], vec![]);
    let others = builder.node("Sub", &[&probability, &at_label], vec![]);
    let sum = emit::sum_over(&others, 1, builder);
    let missing = builder.node("Mul", &[&sum, label], vec![]);
    let gradient = builder.node("Sub", &[&others, &missing], vec![]);
    Loss { loss, gradient }
}

fn difference(logits: &str, plus: &str, minus: &str, builder: &mut GraphBuilder) -> Loss {
    let gradient = builder.node("Sub", &[plus, minus], vec![]);
    let product = builder.node("Mul", &[&gradient, logits], vec![]);
    let loss = sum_of_classes(&product, builder);
    Loss { loss, gradient }
}
