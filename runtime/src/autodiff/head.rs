//! Losses on the logits, with labels and targets as inputs of the graph.

use rift_models::onnx::{DataType, Dim, GraphBuilder, GraphError, attribute};

use super::emit;
use super::interface::Interface;

/// What an attack wants to increase, for each image by itself.
///
/// The gradient is that of the sum over the batch, so every image gets the gradient of its own loss,
/// whatever else is in the batch. Labels and targets must be below the number of classes; one beyond
/// is no class at all. `y` is the label, `t` the target, `z` the logits and `z_(1) ≥ z_(2) ≥ …` the
/// same sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    /// `−log softmax(z)_y`. The gradient at the true class is computed as the sum of the other
    /// probabilities rather than `softmax(z)_y − 1`, so that it does not vanish where the model is
    /// too sure for `f32`.
    CrossEntropy,
    /// `log Σ_{j≠y} exp z_j − z_y`, of which cross-entropy is the monotone function `log(1 + exp ·)`:
    /// the same order of losses and the same direction of gradients, but neither saturates however
    /// sure the model is.
    LogOdds,
    /// `z_t − log Σ_{j≠t} exp z_j`: to [`LogOdds`](Self::LogOdds) what the cross-entropy of the
    /// target, negated, is to cross-entropy.
    TargetLogOdds,
    /// `max_{j≠y} z_j − z_y`: positive where the model is wrong (Carlini & Wagner 2017, f₆).
    Margin,
    /// `z_t − z_y`.
    LogitDifference,
    /// `(max_{j≠y} z_j − z_y) / (z_(1) − z_(3) + 10⁻¹²)`, the difference of logits ratio: the same for
    /// logits shifted or scaled (Croce & Hein 2020, equation 6). Takes at least three classes.
    Dlr,
    /// `(z_t − z_y) / (z_(1) − ½ (z_(3) + z_(4)) + 10⁻¹²)` (Croce & Hein 2020, equation 7). Takes at
    /// least four classes.
    TargetedDlr,
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
            Self::CrossEntropy | Self::LogOdds | Self::Margin | Self::Dlr => &["labels"],
            Self::TargetLogOdds => &["targets"],
            Self::LogitDifference | Self::TargetedDlr => &["labels", "targets"],
        }
    }

    /// The fewest classes for which the loss is defined.
    pub fn fewest_classes(self) -> usize {
        match self {
            Self::TargetedDlr => 4,
            Self::Dlr => 3,
            _ => 2,
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
        let [label, target] = ["labels", "targets"].map(|name| {
            let is_there = self.inputs().contains(&name);
            if is_there { one_hot(name, classes, builder) } else { String::new() }
        });
        Ok(match self {
            Self::CrossEntropy => cross_entropy(logits, &label, builder),
            Self::LogOdds => log_odds(logits, &label, builder),
            Self::TargetLogOdds => {
                let against = log_odds(logits, &target, builder);
                let [loss, gradient] = [against.loss, against.gradient]
                    .map(|value| builder.node("Neg", &[&value], vec![]));
                Loss { loss, gradient }
            }
            Self::Margin => {
                let best = best_other(logits, &label, classes, builder);
                difference(logits, &best, &label, builder)
            }
            Self::LogitDifference => difference(logits, &target, &label, builder),
            Self::Dlr => {
                let best = best_other(logits, &label, classes, builder);
                let lead = difference(logits, &best, &label, builder);
                let spread = spread(logits, classes, &[(0, 1.0), (2, -1.0)], builder);
                ratio(&lead, &spread, builder)
            }
            Self::TargetedDlr => {
                let lead = difference(logits, &target, &label, builder);
                let ranks = [(0, 1.0), (2, -0.5), (3, -0.5)];
                let spread = spread(logits, classes, &ranks, builder);
                ratio(&lead, &spread, builder)
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

/// The logits with that of the marked class out of the way.
fn others(logits: &str, marked: &str, builder: &mut GraphBuilder) -> String {
    let lowest = builder.scalar("lowest", f32::MIN);
    let to_bool = vec![attribute::int("to", DataType::Bool as i64)];
    let is_marked = builder.node("Cast", &[marked], to_bool);
    builder.node("Where", &[&is_marked, &lowest, logits], vec![])
}

/// The largest logit's class but the label's, marked.
fn best_other(logits: &str, label: &str, classes: usize, builder: &mut GraphBuilder) -> String {
    let others = others(logits, label, builder);
    let axis = vec![attribute::int("axis", 1), attribute::int("keepdims", 0)];
    let best = builder.node("ArgMax", &[&others], axis);
    one_hot(&best, classes, builder)
}

/// `log Σ exp` of the unmarked logits less the marked one.
fn log_odds(logits: &str, marked: &str, builder: &mut GraphBuilder) -> Loss {
    let others = others(logits, marked, builder);
    let axis = vec![attribute::int("axis", 1)];
    let weights = builder.node("Softmax", &[&others], axis);
    let gradient = builder.node("Sub", &[&weights, marked], vec![]);
    // With the largest taken out, the sum of exponentials lies from 1 to the number of classes.
    let one = builder.integers("one", &[1]);
    let top =
        builder.node_with_outputs("TopK", &[&others, &one], vec![attribute::int("axis", 1)], 2);
    let rest = builder.node("Sub", &[&others, &top[0]], vec![]);
    let rest = builder.node("Exp", &[&rest], vec![]);
    let rest = sum_of_classes(&rest, builder);
    let rest = builder.node("Log", &[&rest], vec![]);
    let top = sum_of_classes(&top[0], builder);
    let of_others = builder.node("Add", &[&rest, &top], vec![]);
    let own = builder.node("Mul", &[marked, logits], vec![]);
    let own = sum_of_classes(&own, builder);
    let loss = builder.node("Sub", &[&of_others, &own], vec![]);
    Loss { loss, gradient }
}

/// A weighted sum of the logits of certain ranks, from 0, and its gradient.
fn spread(logits: &str, classes: usize, ranks: &[(i64, f32)], builder: &mut GraphBuilder) -> Loss {
    let deepest = ranks.iter().map(|(rank, _)| rank + 1).max().unwrap_or(1);
    let deepest = builder.integers("ranks", &[deepest]);
    let axis = || vec![attribute::int("axis", 1)];
    let sorted = builder.node_with_outputs("TopK", &[logits, &deepest], axis(), 2);
    let mut terms = Vec::new();
    for (rank, weight) in ranks {
        let rank = builder.array("rank", &ndarray::arr0(*rank));
        let class = builder.node("Gather", &[&sorted[1], &rank], axis());
        let class = one_hot(&class, classes, builder);
        let weight = builder.scalar("weight", *weight);
        terms.push(builder.node("Mul", &[&class, &weight], vec![]));
    }
    let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
    let gradient = builder.node("Sum", &terms, vec![]);
    let product = builder.node("Mul", &[&gradient, logits], vec![]);
    let loss = sum_of_classes(&product, builder);
    Loss { loss, gradient }
}

/// `lead / (spread + 10⁻¹²)` by the quotient rule.
fn ratio(lead: &Loss, spread: &Loss, builder: &mut GraphBuilder) -> Loss {
    let tiny = builder.scalar("tiny", 1e-12);
    let spread_loss = builder.node("Add", &[&spread.loss, &tiny], vec![]);
    let loss = builder.node("Div", &[&lead.loss, &spread_loss], vec![]);
    let axes = builder.integers("axes", &[1]);
    let [column, divisor] =
        [&loss, &spread_loss].map(|row| builder.node("Unsqueeze", &[row, &axes], vec![]));
    let drift = builder.node("Mul", &[&column, &spread.gradient], vec![]);
    let rise = builder.node("Sub", &[&lead.gradient, &drift], vec![]);
    let gradient = builder.node("Div", &[&rise, &divisor], vec![]);
    Loss { loss, gradient }
}
