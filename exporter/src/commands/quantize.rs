//! `rift-exporter quantize`.

use std::fmt::Write;

use anyhow::ensure;
use rift_models::artifact::atomic::StagedFolder;
use rift_models::artifact::{Bundle, Card, Pair, Quantization, WeightFormat, atomic};
use rift_models::threat::AttackSpec;

use super::{Answer, output, size};
use crate::bundle::{OptimizeError, evidence, quantized};
use crate::cli::{self, Activations, Calibration, Keep, Placement, Quantize, Weights};
use crate::quantize::range::Method;
use crate::quantize::rewrite::Style;
use crate::quantize::{KeepFloat, QuantizeError, Request, quantize};
use crate::verify::engine::Engine;

/// Writes the quantised bundle, or says what it would lose.
pub(super) fn run(settings: &Quantize, engine: &Engine) -> anyhow::Result<Answer> {
    let request = request(settings)?;
    check(settings)?;
    let quantized = match quantize(&request, engine.options()) {
        Ok(quantized) => quantized,
        Err(error @ QuantizeError::Drop(_)) => return Ok(Answer::Refused(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let optimize = settings.optimize.map(Into::into);
    let target = (settings.out.as_path(), settings.name.as_deref(), optimize);
    let card = match quantized::write(&quantized, target, engine) {
        Ok(card) => card,
        Err(error @ QuantizeError::Optimize(OptimizeError::Parity(_))) => {
            return Ok(Answer::Refused(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(path) = &settings.json {
        atomic::write_json(path, &card)?;
    }
    Ok(Answer::Yes(describe(settings, &card, &quantized.quantization)))
}

/// Refuses what would be written over what is read, before anything is.
fn check(settings: &Quantize) -> anyhow::Result<()> {
    StagedFolder::check(&settings.out, &Bundle::ALL)?;
    let bundle = ("the float model's own bundle", settings.bundle.as_path());
    let inputs = [bundle, ("the data", &settings.data)];
    output::ensure_apart(&settings.out, &inputs[..1])?;
    output::ensure_holds_none(&settings.out, &inputs[1..])?;
    if let Some(path) = &settings.json {
        let places = [&inputs[..], &[("the new bundle", &settings.out)]].concat();
        output::ensure_no_input(("--json", path), &places, &Bundle::ALL)?;
        atomic::check_writable(path)?;
    }
    Ok(evidence::ensure(&Bundle::open(&settings.bundle)?, &settings.bundle)?)
}

fn request(settings: &Quantize) -> anyhow::Result<Request> {
    if settings.weights == Weights::Fp16 {
        let idle = settings.only_for_int8();
        ensure!(
            idle.is_empty(),
            "{} cannot be used with `--weights fp16`, which computes in float32",
            idle.iter().map(|flag| format!("`{flag}`")).collect::<Vec<_>>().join(", ")
        );
    }
    ensure!(
        settings.percentile.is_none() || settings.calibration == Some(Calibration::Percentile),
        "`--percentile` is that of `--calibration percentile`, which is not asked for"
    );
    Ok(Request {
        bundle: settings.bundle.clone(),
        data: settings.data.clone(),
        method: match settings.calibration.unwrap_or(Calibration::Minmax) {
            Calibration::Minmax => Method::MinMax,
            Calibration::Percentile => {
                Method::Percentile(settings.percentile.unwrap_or(cli::PERCENTILE))
            }
            Calibration::Entropy => Method::Entropy,
            Calibration::Mse => Method::Mse,
        },
        calibration_images: settings.calibration_images.unwrap_or(cli::CALIBRATION_IMAGES),
        images: settings.images,
        weights: settings.weights.into(),
        style: Style {
            activations: settings.activations.unwrap_or(Activations::U8).into(),
            reduce_range: settings.reduce_range,
        },
        first_float: settings.first_layer == Placement::Float,
        last_float: settings.last_layer == Placement::Float,
        keep_float: match &settings.keep_float {
            None => KeepFloat::Named(std::collections::BTreeSet::new()),
            Some(Keep::Auto) => KeepFloat::Auto,
            Some(Keep::Named(names)) => KeepFloat::Named(names.iter().cloned().collect()),
        },
        bias_correction: settings.bias_correction.unwrap_or(true),
        attack: attack(settings)?,
        max_drop: settings.max_drop,
    })
}

/// PGD within the bundle's threat model, or that of the flags.
fn attack(settings: &Quantize) -> anyhow::Result<AttackSpec> {
    // A bundle that cannot be read is refused where its model is opened.
    let bundle = Bundle::open_unchecked(&settings.bundle).ok();
    let threat = bundle.and_then(|bundle| bundle.card.threat);
    let trained = threat.unwrap_or_else(AttackSpec::pgd20);
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
