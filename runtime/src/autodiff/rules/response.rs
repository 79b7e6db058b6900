//! Local response normalisation (Krizhevsky et al. 2012).

use ndarray::Array2;
use rift_models::onnx::GraphBuilder;

use crate::autodiff::emit::{self, Formula};
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 1] = [Rule { op: "LRN", check, backward: First(backward) }];

struct Response {
    alpha: f32,
    beta: f32,
    bias: f32,
    size: usize,
    channels: usize,
}

impl Response {
    fn of(view: &View<'_>) -> Result<Self, Refusal> {
        let attributes = view.attributes();
        let size = attributes.int("size")?.and_then(|size| usize::try_from(size).ok());
        view.spatial(view.input(0)?)?;
        Ok(Self {
            alpha: attributes.float("alpha")?.unwrap_or(1e-4),
            beta: attributes.float("beta")?.unwrap_or(0.75),
            bias: attributes.float("bias")?.unwrap_or(1.0),
            size: size.ok_or_else(|| Refusal::new("attribute `size` is missing"))?,
            channels: view.fixed(view.input(0)?, 1)?,
        })
    }

    /// 1 where a channel, a column, is in the window of another, a row.
    fn band(&self) -> Array2<f32> {
        let (before, after) = ((self.size.max(1) - 1) / 2, self.size / 2);
        Array2::from_shape_fn((self.channels, self.channels), |(row, column)| {
            f32::from(column + before >= row && column <= row + after)
        })
    }
}

fn check(view: &View<'_>) -> Result<(), Refusal> {
    Response::of(view).map(|_| ())
}

/// `y = x s^(−β)` with `s = b + α/n Σ x²` over the neighbouring channels gives
/// `g s^(−β) − 2αβ/n · x · Σ g x s^(−β−1)` over the channels whose neighbour it is.
fn backward(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let response = Response::of(view)?;
    let input = view.input(0)?;
    let positions: usize = view.spatial(input)?.iter().product();
    let rows = [-1, response.channels as i64, positions as i64];
    let band = response.band();
    let back = builder.array("band", &band.t());
    let band = builder.array("band", &band);
    let (share, beta) = (response.alpha / response.size.max(1) as f32, response.beta);
    let mut f = Formula::new(builder);
    let x = f.reshape(input, &rows);
    let g = f.reshape(gradient, &rows);
    let square = f.mul(&x, &x);
    let sum = builder.node("MatMul", &[&band, &square], vec![]);
    let mut f = Formula::new(builder);
    let s = f.times(share, &sum);
    let s = f.plus(&s, response.bias);
    let scale = f.power(&s, -beta);
    let direct = f.mul(&g, &scale);
    let weighted = f.mul(&direct, &x);
    let weighted = f.div(&weighted, &s);
    let spread = builder.node("MatMul", &[&back, &weighted], vec![]);
    let mut f = Formula::new(builder);
    let indirect = f.mul(&x, &spread);
    let indirect = f.times(2.0 * share * beta, &indirect);
    let total = f.sub(&direct, &indirect);
    Ok(vec![(0, emit::reshape_like(view, &total, input, builder)?)])
}

#[cfg(test)]
mod tests {
    use rift_models::onnx::attribute;

    use crate::autodiff::testing::Case;

    #[test]
    fn over_neighbouring_channels() {
        // ONNX Runtime runs odd sizes only.
        for size in [1, 3, 5] {
            Case::new(&[4, 2, 2]).check("LRN", |b, x| {
                let settings = vec![
                    attribute::int("size", size),
                    attribute::float("alpha", 0.8),
                    attribute::float("beta", 0.6),
                    attribute::float("bias", 1.5),
                ];
                b.node("LRN", &[x], settings)
            });
        }
    }
}
