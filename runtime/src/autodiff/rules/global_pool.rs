//! Pools over all positions, except the mean, which is a reduction.

use ndarray::Array1;
use rift_models::onnx::{GraphBuilder, attribute};

use crate::autodiff::emit::{self, Formula};
use crate::autodiff::error::Refusal;
use crate::autodiff::rule::{Backward::First, Contributions, Rule, View};

pub(super) const RULES: [Rule; 2] = [
    Rule { op: "GlobalLpPool", check: check_lp, backward: First(lp) },
    Rule { op: "GlobalMaxPool", check: check_max, backward: First(max) },
];

fn check_max(view: &View<'_>) -> Result<(), Refusal> {
    view.fixed(view.input(0)?, 1)?;
    view.spatial(view.input(0)?).map(|_| ())
}

/// `g` to the first largest number, as in PyTorch.
fn max(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let input = view.input(0)?;
    let channels = view.fixed(input, 1)? as i64;
    let positions: usize = view.spatial(input)?.iter().product();
    let rows = Formula::new(builder).reshape(input, &[-1, channels, positions as i64]);
    let settings = vec![attribute::int("axis", 2), attribute::int("keepdims", 1)];
    let place = builder.node("ArgMax", &[&rows], settings);
    let places = builder.array("positions", &Array1::from_iter(0..positions as i64));
    let mut f = Formula::new(builder);
    let is_first = f.holds(&place, "Equal", &places);
    let gradient = f.reshape(gradient, &[-1, channels, 1]);
    let spread = f.mul(&gradient, &is_first);
    Ok(vec![(0, emit::reshape_like(view, &spread, input, builder)?)])
}

fn exponent(view: &View<'_>) -> Result<f32, Refusal> {
    let p = view.attributes().int("p")?.unwrap_or(2);
    if p < 1 {
        return Err(view.attributes().wrong("p", "a number above 0", &p.to_string()).into());
    }
    Ok(p as f32)
}

fn check_lp(view: &View<'_>) -> Result<(), Refusal> {
    exponent(view)?;
    check_max(view)
}

/// `y = (Σ |x|ᵖ)^(1/p)` gives `g · sign(x) (|x| / y)^(p−1)`, 0 where all are 0.
fn lp(
    view: &View<'_>,
    gradient: &str,
    builder: &mut GraphBuilder,
) -> Result<Contributions, Refusal> {
    let p = exponent(view)?;
    let x = view.input(0)?;
    let mut f = Formula::new(builder);
    let mut slope = f.of("Sign", x);
    if p > 1.0 {
        let size = f.of("Abs", x);
        let norm = f.nonzero(view.output()?);
        let share = f.div(&size, &norm);
        let share = f.power(&share, p - 1.0);
        slope = f.mul(&slope, &share);
    }
    Ok(vec![(0, f.mul(gradient, &slope))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::testing::Case;

    #[test]
    fn over_all_positions() {
        Case::new(&[2, 3, 2]).check("GlobalMaxPool", |b, x| b.node("GlobalMaxPool", &[x], vec![]));
        Case::new(&[2, 5]).check("GlobalMaxPool", |b, x| b.node("GlobalMaxPool", &[x], vec![]));
        for p in [1, 2, 3] {
            Case::new(&[2, 3, 2]).check("GlobalLpPool", |b, x| {
                b.node("GlobalLpPool", &[x], vec![attribute::int("p", p)])
            });
        }
    }

    #[test]
    fn ties() {
        let first = Case::new(&[1, 3])
            .gradient_at(&[0.5, 1.0, 1.0], |b, x| b.node("GlobalMaxPool", &[x], vec![]));
        let Some(first) = first else { return };
        assert_eq!(first, [0.0, 1.0, 0.0]);
        let nothing =
            Case::new(&[1, 2]).gradient_at(&[0.0; 2], |b, x| b.node("GlobalLpPool", &[x], vec![]));
        assert_eq!(nothing.unwrap(), [0.0; 2]);
    }
}
