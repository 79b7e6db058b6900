//! Norms over windows.

use rift_models::onnx::GraphBuilder;

use super::pooling;
use crate::autodiff::emit::Formula;
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] = [Rule { op: "LpPool", check, backward: First(backward) }];

fn check(view: &View<'_>) -> Result<(), Refusal> {
    view.attributes().int("p")?;
    view.fixed(view.input(0)?, 1)?;
    pooling::window(view).map(|_| ())
}

/// `y = (Σ |x|ᵖ)^(1/p)` gives `sign(x) |x|^(p−1)` times the sum of `g y^(1−p)` over the windows that
/// hold `x`.
fn backward(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let p = view.attributes().int("p")?.unwrap_or(2) as f32;
    let x = view.input(0)?;
    let mut f = Formula::new(builder);
    let norm = f.nonzero(view.output()?);
    let weight = f.power(&norm, 1.0 - p);
    let weighted = f.mul(gradient, &weight);
    let sum = pooling::spread(view, &weighted, &pooling::window(view)?, builder)?;
    let mut f = Formula::new(builder);
    let mut slope = f.of("Sign", x);
    if p > 1.0 {
        let size = f.of("Abs", x);
        let power = f.power(&size, p - 1.0);
        slope = f.mul(&slope, &power);
    }
    Ok(vec![(0, f.mul(&sum, &slope))])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn over_windows() {
        for (p, stride, pads) in [(2, 2, [0; 4]), (1, 1, [1, 0, 0, 1]), (3, 2, [1; 4])] {
            Case::new(&[2, 5, 6]).check("LpPool", |b, x| {
                let settings = vec![
                    attribute::ints("kernel_shape", &[3, 2]),
                    attribute::ints("strides", &[stride, stride]),
                    attribute::ints("pads", &pads),
                    attribute::int("p", p),
                ];
                b.node("LpPool", &[x], settings)
            });
        }
    }
}
