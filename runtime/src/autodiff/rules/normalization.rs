//! Batch normalisation with frozen statistics.

use rift_models::onnx::GraphBuilder;

use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] =
    [Rule { op: "BatchNormalization", check, backward: First(backward) }];

fn check(view: &View<'_>) -> Result<(), Refusal> {
    view.only_first_is_active()?;
    view.attributes().float("epsilon")?;
    if view.attributes().int("training_mode")?.unwrap_or(0) != 0 {
        return Err(Refusal::new("it is in training mode"));
    }
    view.shape(view.input(0)?).map(|_| ())
}

/// `g · γ / √(σ² + ε)`; what does not depend on the image, ONNX Runtime folds into one constant.
fn backward(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let epsilon = view.attributes().float("epsilon")?.unwrap_or(1e-5);
    let epsilon = builder.scalar("epsilon", epsilon);
    let variance = builder.node("Add", &[view.input(4)?, &epsilon], vec![]);
    let deviation = builder.node("Sqrt", &[&variance], vec![]);
    let slope = builder.node("Div", &[view.input(1)?, &deviation], vec![]);
    let rank = view.shape(view.input(0)?)?.len();
    let mut per_channel = vec![1; rank.saturating_sub(1)];
    if let Some(first) = per_channel.first_mut() {
        *first = -1;
    }
    let per_channel = builder.integers("shape", &per_channel);
    let slope = builder.node("Reshape", &[&slope, &per_channel], vec![]);
    Ok(vec![(0, builder.node("Mul", &[gradient, &slope], vec![]))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn scales_by_channel() {
        for (shape, epsilon) in [(&[2, 3, 3][..], 1e-5), (&[2, 4], 0.1), (&[2], 1e-3)] {
            Case::new(shape).check("BatchNormalization", |b, x| {
                let scale = b.floats("scale", &[1.5, -0.5]);
                let shift = b.floats("shift", &[0.1, 0.2]);
                let mean = b.floats("mean", &[0.3, -0.1]);
                let variance = b.floats("variance", &[0.5, 2.0]);
                let settings = vec![attribute::float("epsilon", epsilon)];
                b.node("BatchNormalization", &[x, &scale, &shift, &mean, &variance], settings)
            });
        }
    }
}
