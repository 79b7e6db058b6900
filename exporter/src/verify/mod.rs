//! Whether a bundle is what its card says.

pub mod engine;
pub mod figures;
pub mod parity;
pub mod robustness;

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::Array2;
use rift_models::artifact::{Bundle, BundleError, Card, Digest, DigestError, JsonError, Parity};
use rift_models::dataset::{Dataset, DatasetError, Request};
use rift_models::onnx::{Model, OnnxError};
use rift_models::threat::AttackSpec;
use rift_runtime::attack::gradient::GradientError;
use rift_runtime::session::{Classifier, SessionError};
use serde::Serialize;

use crate::bundle::{evidence, key};
use engine::Engine;
use figures::{Figure, Files};
use parity::{Comparison, ShapeMismatch, TOLERANCE, Worst};
use robustness::TrialError;

/// What to hold a bundle against beside its card.
#[derive(Clone, Copy, Debug, Default)]
pub struct Against<'a> {
    /// The largest difference of a logit from the checkpoint's; if not given, the usual one, for a
    /// quantised model its card's.
    pub tolerance: Option<f64>,
    /// Images to measure accuracies on.
    pub data: Option<&'a Path>,
    /// How many; as many as the card's figures are of if not given.
    pub images: Option<usize>,
    /// The bundle of a quantised model's float twin.
    pub twin: Option<&'a Path>,
    /// Whether the twin is left out where the model is not quantised, which has none, instead of
    /// being refused.
    pub twin_if_quantized: bool,
}

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

impl Check {
    /// The check that two things are the same, each as it is shown: what was expected, and what was
    /// found.
    pub(crate) fn agreement(
        name: &'static str,
        holds: bool,
        [expected, found]: [String; 2],
    ) -> Self {
        let detail = if holds { found } else { format!("expected {expected}, found {found}") };
        Self { name, holds, detail }
    }
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
    /// What each file gives; empty where a changed file was not run.
    pub figures: Vec<Figure>,
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
    /// It is no bundle, or one of its parts cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file cannot be read.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The bill of materials cannot be read.
    #[error(transparent)]
    Bill(#[from] JsonError),
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
    /// A model whose operators are to be listed cannot be read.
    #[error("the bundle's models cannot be read")]
    Operators(#[source] OnnxError),
    /// The images cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The images do not fit the model.
    #[error("the images of `{path}` do not fit the model: expected {expected}, found {found}")]
    Images {
        /// The data.
        path: String,
        /// What the model takes.
        expected: String,
        /// What the data has.
        found: String,
    },
    /// A twin is named for a model that has none.
    #[error("`{name}` is not quantised: `--twin` names the float model of one that is")]
    NotQuantized {
        /// The bundle's name.
        name: String,
    },
    /// The twin is another model's.
    #[error("`{path}` holds the model {found}, expected {expected}, from which this one was made")]
    OtherTwin {
        /// The twin's bundle.
        path: String,
        /// The digest in the card.
        expected: Digest,
        /// The digest of the twin's model.
        found: Digest,
    },
    /// The model has no gradient.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// The model cannot be tried.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The model does not run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The model gives something else than the probe's logits.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
}

/// Checks a bundle: its files against the digests in its card, what the model says of itself
/// against the card, and what its files give, run on `engine`, against the probe, the card's figures
/// and each other.
///
/// A file that was changed is not run: its parity is not reported.
///
/// # Errors
/// If a file is missing or cannot be used. What does not hold is no error.
pub fn verify(
    path: &Path,
    against: &Against<'_>,
    engine: &Engine,
) -> Result<VerifyReport, VerifyError> {
    let bundle = Bundle::open_unchecked(path)?;
    // The bytes that were digested are the bytes that are run.
    let model = read(&bundle.model())?;
    let card = &bundle.card;
    let mut checks = vec![
        digest_check("model digest", &card.model, &Digest::of_bytes(&model)),
        digest_check("probe digest", &card.probe, &Digest::of_file(&bundle.probe_path())?),
    ];
    let mut optimized = None;
    if let Some(of_card) = &card.optimized {
        let bytes = read(&bundle.optimized())?;
        checks.push(digest_check("optimised digest", &of_card.model, &Digest::of_bytes(&bytes)));
        optimized = Some(bytes);
    }
    let mut comparison = None;
    let mut figures = Vec::new();
    if checks.iter().all(|check| check.holds) {
        let decoded = Model::from_bytes(&model).map_err(|source| VerifyError::Model {
            path: bundle.model().display().to_string(),
            source,
        })?;
        checks.extend(self_description(&decoded, card));
        checks.extend(evidence::operators_check(&bundle).map_err(VerifyError::Operators)?);
        let probe = bundle.probe()?;
        checks.push(digest_check("probe's checkpoint", &card.checkpoint, &probe.checkpoint));
        let logits = |path: &Path, model| engine.logits(path, model, &probe.images);
        let own = logits(&bundle.model(), model.clone())?;
        let tolerance = against.tolerance.unwrap_or_else(|| usual_tolerance(card));
        let compared = parity::compare(&probe.logits, &own, tolerance)?;
        checks.push(parity_check(&compared));
        let runs = Runs { bundle: &bundle, model, optimized, own };
        figures = runs.figures(&compared, against, engine)?;
        comparison = Some(compared);
    } else {
        let detail = "not run, because a file was changed".to_owned();
        checks.push(Check { name: "parity", holds: false, detail });
    }
    checks.extend(evidence::checks(&bundle)?);
    let (parity, worst) = comparison.map(|c| (c.parity, c.worst)).unzip();
    Ok(VerifyReport {
        bundle: path.display().to_string(),
        name: card.name.clone(),
        holds: checks.iter().all(|check| check.holds) && figures.iter().all(|figure| figure.holds),
        checks,
        figures,
        parity,
        worst,
    })
}

/// The largest difference of a logit that is accepted unless the user says otherwise.
fn usual_tolerance(card: &Card) -> f64 {
    if card.quantization.is_some() { card.parity.tolerance } else { TOLERANCE }
}

/// A bundle's files, which are those of its card, and the model's logits on the probe.
struct Runs<'a> {
    bundle: &'a Bundle,
    model: Vec<u8>,
    optimized: Option<Vec<u8>>,
    own: Array2<f32>,
}

impl Runs<'_> {
    fn figures(
        self,
        compared: &Comparison,
        against: &Against<'_>,
        engine: &Engine,
    ) -> Result<Vec<Figure>, VerifyError> {
        let card = &self.bundle.card;
        let probe = self.bundle.probe()?;
        let why = match card.quantization {
            None => "the checkpoint's: sums in another order",
            Some(_) => "the checkpoint's: twice what rounding did where the file was written",
        };
        let mut figures = vec![Figure::logits(figures::file_name(card), compared, why)];
        if let Some(bytes) = &self.optimized {
            let path = self.bundle.optimized();
            let found = engine.logits(&path, bytes.clone(), &probe.images)?;
            let tolerance = against.tolerance.unwrap_or_else(|| usual_tolerance(card));
            let compared = parity::compare(&self.own, &found, tolerance)?;
            let why = "those of the model before ONNX Runtime fused its operators";
            figures.push(Figure::logits("optimised", &compared, why));
        }
        let is_idle = against.twin_if_quantized && card.quantization.is_none();
        let twin = against.twin.filter(|_| !is_idle);
        let twin = twin.map(|path| figures::open_twin(card, path)).transpose()?;
        if let Some(twin) = &twin {
            let found = engine.logits(&twin.model(), read(&twin.model())?, &probe.images)?;
            // As `export` accepted it.
            let tolerance = twin.card.parity.tolerance;
            let compared = parity::compare(&probe.logits, &found, tolerance)?;
            let why = "the checkpoint's: sums in another order";
            figures.push(Figure::logits("float32", &compared, why));
        }
        let Some(data) = against.data else { return Ok(figures) };
        let own = Classifier::from_bytes(&self.bundle.model(), self.model)?;
        let optimized = self
            .optimized
            .map(|bytes| Classifier::from_bytes(&self.bundle.optimized(), bytes))
            .transpose()?;
        let open = |twin: Bundle| -> Result<Classifier, VerifyError> {
            Ok(Classifier::from_bytes(&twin.model(), read(&twin.model())?)?)
        };
        let twin = twin.map(open).transpose()?;
        let files = Files { card, own: &own, optimized: optimized.as_ref(), twin: twin.as_ref() };
        figures.extend(figures::accuracies(&files, (data, against.images), engine)?);
        Ok(figures)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, VerifyError> {
    std::fs::read(path)
        .map_err(|source| VerifyError::Read { path: path.display().to_string(), source })
}

/// Images that the model takes, with labels that it knows.
fn images_of(
    classifier: &Classifier,
    path: &Path,
    request: &Request,
) -> Result<Dataset, VerifyError> {
    let data = Dataset::open(path, request)?;
    let wrong = |expected: String, found: String| VerifyError::Images {
        path: path.display().to_string(),
        expected,
        found,
    };
    if data.input() != classifier.input() {
        let shape = |input: [usize; 3]| format!("{input:?} (channels, height, width)");
        return Err(wrong(shape(classifier.input()), shape(data.input())));
    }
    match data.labels.iter().find(|label| **label >= classifier.classes()) {
        Some(label) => {
            let expected = format!("labels below {}", classifier.classes());
            Err(wrong(expected, format!("label {label}")))
        }
        None => Ok(data),
    }
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
        Check::agreement(
            "operator set",
            card.opset == model.opset(),
            [card.opset.to_string(), model.opset().to_string()],
        ),
        Check::agreement(
            "model's checkpoint",
            card.checkpoint.as_str() == checkpoint,
            [
                card.checkpoint.short().to_owned(),
                checkpoint.trim_start_matches("sha256:").chars().take(12).collect(),
            ],
        ),
        Check::agreement(
            "classes",
            agree,
            [shown(&card.classes), shown(classes.as_deref().unwrap_or_default())],
        ),
        Check::agreement(
            "threat model",
            threat == card.threat,
            [label(&card.threat), label(&threat)],
        ),
    ]
}

fn parsed<T: serde::de::DeserializeOwned>(said: &BTreeMap<&str, &str>, key: &str) -> Option<T> {
    said.get(key).and_then(|text| serde_json::from_str(text).ok())
}

fn digest_check(name: &'static str, expected: &Digest, found: &Digest) -> Check {
    Check::agreement(
        name,
        expected == found,
        [expected.short().to_owned(), found.short().to_owned()],
    )
}

fn parity_check(comparison: &Comparison) -> Check {
    let Comparison { parity, worst } = comparison;
    let figures = format!(
        "largest difference {:.1e} on {} images, accepted {:.1e}, {} same predictions",
        parity.max_abs_difference, parity.n, parity.tolerance, parity.same_prediction
    );
    let holds = parity.holds();
    let detail = if holds { figures } else { format!("{figures}; worst: {worst}") };
    Check { name: "parity", holds, detail }
}
