//! The bundle of a quantised model, beside that of its float twin.

use std::collections::BTreeMap;
use std::path::Path;

use rift_models::artifact::{Bundle, Card, CardMetric, Lineage};

use super::{finish, folder_name};
use rift_runtime::session::ahead::Reach;

use crate::quantize::{QuantizeError, Quantized, digest};
use crate::verify::engine::Engine;
use crate::verify::parity;

/// How much further from the checkpoint's logits a quantised file may be elsewhere than where it was
/// written: processors round and saturate differently, but another file or a broken kernel is
/// further off than that.
pub const SLACK: f64 = 2.0;

/// Writes the bundle to `out`, whole or not at all, with the probe of the float bundle.
///
/// # Errors
/// If the model does not run on the probe or the bundle cannot be written.
pub fn write(
    quantized: &Quantized,
    (out, name, optimize): (&Path, Option<&str>, Option<Reach>),
    engine: &Engine,
) -> Result<Card, QuantizeError> {
    let Quantized { twin, model, quantization } = quantized;
    let probe = twin.probe()?;
    let model_digest = digest(model);
    let found = engine.logits(&out.join(Bundle::MODEL), model.to_bytes(), &probe.images)?;
    let mut parity = parity::compare(&probe.logits, &found, f64::INFINITY)?.parity;
    parity.tolerance = two_digits(parity.max_abs_difference * SLACK);
    let mut parents = BTreeMap::from([
        ("model".to_owned(), twin.card.model.clone()),
        ("probe".to_owned(), twin.card.probe.clone()),
        ("exam".to_owned(), quantization.data.clone()),
    ]);
    parents.extend(
        quantization.calibration.as_ref().map(|c| ("calibration".to_owned(), c.data.clone())),
    );
    let lineage = Lineage {
        made_by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), " quantize")
            .into(),
        parents,
        settings: serde_json::json!({
            "weights": quantization.weights,
            "activations": quantization.activations,
            "calibration": quantization.calibration.as_ref().map(|c| &c.method),
            "float_layers": quantization.float_layers,
            "max_drop": quantization.max_drop,
        }),
        ancestors: BTreeMap::from([("model".to_owned(), twin.card.lineage.clone())]),
    };
    let metric = |name: &str, attack, accuracy| CardMetric {
        name: name.to_owned(),
        split: quantization.split.clone(),
        attack,
        accuracy,
    };
    let attack = Some(quantization.attack.clone());
    let mut card = Card {
        name: name.map_or_else(|| folder_name(out), str::to_owned),
        model: model_digest,
        parity,
        metrics: vec![
            metric("clean", None, quantization.clean.quantized),
            metric("robust", attack, quantization.robust.quantized),
        ],
        quantization: Some(quantization.clone()),
        lineage,
        ..twin.card.clone()
    };
    let staged = Bundle::stage(out)?;
    // The same images and logits; another program may have written them in other bytes.
    card.probe = probe.write(&staged.path().join(Bundle::PROBE))?;
    finish(staged, &mut card, (model, optimize), engine)?;
    Ok(card)
}

/// A number that a person can read: none of the digits after the second means anything.
fn two_digits(number: f64) -> f64 {
    format!("{number:.1e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_has_two_digits() {
        assert_eq!(two_digits(0.031_249_999), 0.031);
        assert_eq!(two_digits(12.96), 13.0);
        assert_eq!((two_digits(0.0), two_digits(f64::INFINITY)), (0.0, f64::INFINITY));
    }
}
