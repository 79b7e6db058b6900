//! Whether a bundle is what its card says.

pub mod engine;
pub mod parity;

use std::collections::BTreeMap;
use std::path::Path;

use rift_models::artifact::{
    Bundle, BundleError, Card, Digest, DigestError, JsonError, Parity, ProbeError, read_json,
};
use rift_models::onnx::{Model, OnnxError};
use rift_models::threat::AttackSpec;
use rift_runtime::session::SessionError;
use serde::Serialize;

use crate::bundle::key;
use engine::Engine;
use parity::{Comparison, ShapeMismatch, Worst};

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was found; where it does not hold, also what was expected.
    pub detail: String,
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The bundle's folder, as given.
    pub bundle: String,
    /// The bundle's name.
    pub name: String,
    /// Whether every check holds.
    pub holds: bool,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// How far the logits are from the checkpoint's; absent where a changed file was not run, the
    /// difference `null` where a logit is not finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parity: Option<Parity>,
    /// The logit that is furthest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
}

/// A bundle that cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The card cannot be read.
    #[error(transparent)]
    Card(#[from] JsonError),
    /// A file cannot be read.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The model cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The model.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The model is not one that can be used.
    #[error("`{path}` is not a usable ONNX model")]
    Model {
        /// The model.
        path: String,
        /// Why not.
        #[source]
        source: OnnxError,
    },
    /// The probe cannot be used.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The model does not run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The model gives something else than the probe's logits.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
}

/// Checks a bundle: its files against the digests in its card, what the model says of itself
/// against the card, and the model's logits, run on `engine`, against the probe's.
///
/// A file that was changed is not run: its parity is not reported.
///
/// # Errors
/// If a file is missing or cannot be used. What does not hold is no error.
pub fn verify(path: &Path, tolerance: f64, engine: &Engine) -> Result<VerifyReport, VerifyError> {
    let bundle = open(path)?;
    let model_path = bundle.model();
    // The bytes that were digested are the bytes that are run.
    let model = std::fs::read(&model_path)
        .map_err(|source| VerifyError::Read { path: model_path.display().to_string(), source })?;
    let card = &bundle.card;
    let mut checks = vec![
        digest_check("model digest", &card.model, &Digest::of_bytes(&model)),
        digest_check("probe digest", &card.probe, &Digest::of_file(&bundle.probe_path())?),
    ];
    let mut comparison = None;
    if checks.iter().all(|check| check.holds) {
        let decoded = Model::from_bytes(&model).map_err(|source| VerifyError::Model {
            path: model_path.display().to_string(),
            source,
        })?;
        let probe = bundle.probe()?;
        checks.extend(self_description(&decoded, card));
        checks.push(digest_check("probe's checkpoint", &card.checkpoint, &probe.checkpoint));
        let found = engine.logits(&model_path, model, &probe.images)?;
        let compared = parity::compare(&probe.logits, &found, tolerance)?;
        checks.push(parity_check(&compared));
        comparison = Some(compared);
    } else {
        let detail = "not run, because a file was changed".to_owned();
        checks.push(Check { name: "parity", holds: false, detail });
    }
    let (parity, worst) = comparison.map(|c| (c.parity, c.worst)).unzip();
    Ok(VerifyReport {
        bundle: path.display().to_string(),
        name: card.name.clone(),
        holds: checks.iter().all(|check| check.holds),
        checks,
        parity,
        worst,
    })
}

/// Opens a bundle without judging its digests, which [`verify`] reports one by one.
fn open(path: &Path) -> Result<Bundle, VerifyError> {
    for file in [Bundle::CARD, Bundle::MODEL, Bundle::PROBE] {
        if !path.join(file).is_file() {
            return Err(BundleError::Missing { path: path.display().to_string(), file }.into());
        }
    }
    let card: Card = read_json(&path.join(Bundle::CARD), "card")?;
    if card.format != Card::FORMAT {
        let path = path.display().to_string();
        return Err(BundleError::Format { path, found: card.format }.into());
    }
    Ok(Bundle { path: path.to_owned(), card })
}

/// What the model says of itself against what the card says of it.
fn self_description(model: &Model, card: &Card) -> [Check; 4] {
    let said = model.metadata();
    let threat: Option<AttackSpec> = parsed(&said, key::THREAT);
    let classes: Option<Vec<String>> = parsed(&said, key::CLASSES);
    let label = |threat: &Option<AttackSpec>| {
        threat.as_ref().map_or_else(|| "none".to_owned(), AttackSpec::label)
    };
    let agree = classes.as_ref() == Some(&card.classes);
    let shown = |classes: &[String]| match classes.len() {
        n if agree => format!("{n} names"),
        _ => format!("`{}`", classes.join(", ")),
    };
    let checkpoint = said.get(key::CHECKPOINT).copied().unwrap_or("none");
    [
        agreement(
            "operator set",
            card.opset == model.opset(),
            [card.opset.to_string(), model.opset().to_string()],
        ),
        agreement(
            "model's checkpoint",
            card.checkpoint.as_str() == checkpoint,
            [
                card.checkpoint.short().to_owned(),
                checkpoint.trim_start_matches("sha256:").chars().take(12).collect(),
            ],
        ),
        agreement(
            "classes",
            agree,
            [shown(&card.classes), shown(classes.as_deref().unwrap_or_default())],
        ),
        agreement("threat model", threat == card.threat, [label(&card.threat), label(&threat)]),
    ]
}

fn parsed<T: serde::de::DeserializeOwned>(said: &BTreeMap<&str, &str>, key: &str) -> Option<T> {
    said.get(key).and_then(|text| serde_json::from_str(text).ok())
}

fn digest_check(name: &'static str, expected: &Digest, found: &Digest) -> Check {
    agreement(name, expected == found, [expected.short().to_owned(), found.short().to_owned()])
}

fn agreement(name: &'static str, holds: bool, [expected, found]: [String; 2]) -> Check {
    let detail = if holds { found } else { format!("expected {expected}, found {found}") };
    Check { name, holds, detail }
}

fn parity_check(comparison: &Comparison) -> Check {
    let Comparison { parity, worst } = comparison;
    let figures = format!(
        "largest difference {:.1e} on {} images, accepted {:e}, {} same predictions",
        parity.max_abs_difference, parity.n, parity.tolerance, parity.same_prediction
    );
    let holds = parity.holds();
    let detail = if holds { figures } else { format!("{figures}; worst: {worst}") };
    Check { name: "parity", holds, detail }
}
