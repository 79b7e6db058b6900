//! `rift-exporter quantize`.

use std::fmt::Write;

use rift_models::artifact::{Card, Pair, Quantization, WeightFormat, atomic};
use rift_models::threat::AttackSpec;

use super::{Answer, size};
use crate::bundle::quantized;
use crate::cli::{Calibration, Keep, Placement, Quantize};
use crate::quantize::range::Method;
use crate::quantize::rewrite::Style;
use crate::quantize::{KeepFloat, QuantizeError, Request, quantize};
use crate::verify::engine::Engine;

/// Writes the quantised bundle, or says what it would lose.
pub(super) fn run(settings: &Quantize, engine: &Engine) -> anyhow::Result<Answer> {
    let request = request(settings)?;
    let quantized = match quantize(&request, engine.options()) {
        Ok(quantized) => quantized,
        Err(error @ QuantizeError::Drop(_)) => return Ok(Answer::Refused(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let optimize = settings.optimize.map(Into::into);
    let target = (settings.out.as_path(), settings.name.as_deref(), optimize);
    let card = quantized::write(&quantized, target, engine)?;
    if let Some(path) = &settings.json {
        atomic::write_json(path, &card)?;
    }
    Ok(Answer::Yes(describe(settings, &card, &quantized.quantization)))
}

fn request(settings: &Quantize) -> anyhow::Result<Request> {
    Ok(Request {
        bundle: settings.bundle.clone(),
        data: settings.data.clone(),
        method: match settings.calibration {
            Calibration::Minmax => Method::MinMax,
            Calibration::Percentile => Method::Percentile(settings.percentile),
            Calibration::Entropy => Method::Entropy,
            Calibration::Mse => Method::Mse,
        },
        calibration_images: settings.calibration_images,
        images: settings.images,
        weights: settings.weights.into(),
        style: Style {
            activations: settings.activations.into(),
            reduce_range: settings.reduce_range,
        },
        first_float: settings.first_layer == Placement::Float,
        last_float: settings.last_layer == Placement::Float,
        keep_float: match &settings.keep_float {
            None => KeepFloat::Named(std::collections::BTreeSet::new()),
            Some(Keep::Auto) => KeepFloat::Auto,
            Some(Keep::Named(names)) => KeepFloat::Named(names.iter().cloned().collect()),
        },
        bias_correction: settings.bias_correction,
        attack: attack(settings)?,
        max_drop: settings.max_drop,
    })
}

/// PGD within the bundle's threat model, or that of the flags.
fn attack(settings: &Quantize) -> anyhow::Result<AttackSpec> {
    let card: Option<Card> =
        rift_models::artifact::read_json(&settings.bundle.join("card.json"), "card").ok();
    let trained = card.and_then(|card| card.threat).unwrap_or_else(AttackSpec::pgd20);
    let norm = settings.norm.unwrap_or(trained.norm);
    let eps = match (&settings.eps, norm == trained.norm) {
        (Some(eps), _) => eps.clone(),
        (None, true) => trained.eps,
        (None, false) => {
            anyhow::bail!("`--norm {norm}` needs `--eps`: the bundle's is of another norm")
        }
    };
    let step = settings.step.clone().unwrap_or(trained.step);
    Ok(AttackSpec {
        norm,
        eps,
        step,
        steps: settings.steps,
        restarts: 1,
        random_start: true,
        early_stop: true,
        seed: settings.seed,
    })
}

fn describe(settings: &Quantize, card: &Card, quantization: &Quantization) -> String {
    let ratio = quantization.bytes as f64 / quantization.twin_bytes as f64;
    let form = match (quantization.weights, quantization.activations, &quantization.calibration) {
        (WeightFormat::Int8, Some(activations), Some(calibration)) => format!(
            "int8 weights, {activations:?} activations, calibrated by {} on {} images",
            calibration.method, calibration.n
        ),
        _ => "fp16 weights, float32 activations".to_owned(),
    };
    let float_layers = match quantization.float_layers.len() {
        0 => "none".to_owned(),
        _ => quantization.float_layers.join(", "),
    };
    let pair = |pair: &Pair| {
        let Pair { float, quantized } = pair;
        format!("{quantized}, float {:.2} %, lost {:.2} points", float.percent(), pair.drop())
    };
    let lines = [
        ("bundle", settings.out.display().to_string()),
        ("form", form),
        ("in float", float_layers),
        (
            "model",
            format!(
                "{}, {ratio:.3} of {}, sha256 {}",
                size(quantization.bytes),
                size(quantization.twin_bytes),
                card.model.short()
            ),
        ),
        ("clean", pair(&quantization.clean)),
        ("robust", format!("{} under {}", pair(&quantization.robust), quantization.attack.label())),
        (
            "probe",
            format!(
                "largest difference {:.1e} on {} images, {} same predictions",
                card.parity.max_abs_difference, card.parity.n, card.parity.same_prediction
            ),
        ),
    ];
    let mut result = String::new();
    for (what, text) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(result, "{what:<8} {text}");
    }
    result
}
