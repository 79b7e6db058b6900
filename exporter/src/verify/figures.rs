//! One table of what every file of a model gives, beside what was expected of it and why it may
//! differ.

use std::path::Path;

use rift_models::artifact::{Accuracy, Bundle, Card, Digest, WeightFormat};
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::threat::AttackSpec;
use rift_runtime::attack::gradient::Graphs;
use rift_runtime::session::Classifier;
use serde::Serialize;

use super::engine::Engine;
use super::parity::Comparison;
use super::robustness::{HEAD, Steered, Trial};
use super::{VerifyError, images_of};

/// Percentage points by which a file may differ from its own figures elsewhere.
const SAME_FILE: f64 = 0.5;
/// Percentage points by which a file may differ from what the trainer found.
const TRAINER: f64 = 1.0;
/// Images to measure on where no figure says how many.
const IMAGES: usize = 500;

/// A figure of one file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// `float32`, `int8`, `fp16` or `optimised`.
    pub file: &'static str,
    /// `logits`, `clean`, or the attack.
    pub what: String,
    /// What it is held against: a largest difference of a logit (0), or an accuracy in percent.
    /// Absent where nothing was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<f64>,
    /// What was found: a largest difference of a logit, or an accuracy in percent.
    pub found: f64,
    /// The largest difference that is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Whether it is within that.
    pub holds: bool,
    /// What it is held against, and why it may differ.
    pub why: &'static str,
}

impl Figure {
    /// The largest difference of a logit.
    pub(super) fn logits(file: &'static str, comparison: &Comparison, why: &'static str) -> Self {
        let parity = &comparison.parity;
        Self {
            file,
            what: "logits".to_owned(),
            expected: Some(0.0),
            found: parity.max_abs_difference,
            tolerance: Some(parity.tolerance),
            holds: parity.holds(),
            why,
        }
    }

    /// An accuracy against another; `lost` counts only what is lower.
    fn accuracy(
        (file, what): (&'static str, &str),
        found: &Accuracy,
        expected: Option<&Accuracy>,
        (tolerance, lost): (f64, bool),
        why: &'static str,
    ) -> Self {
        let difference = expected.map_or(0.0, |expected| expected.percent() - found.percent());
        let difference = if lost { difference } else { difference.abs() };
        Self {
            file,
            what: what.to_owned(),
            expected: expected.map(Accuracy::percent),
            found: found.percent(),
            tolerance: expected.map(|_| tolerance),
            // A difference of exactly the tolerance holds, whatever the last bit says.
            holds: difference <= tolerance + 1e-9,
            why,
        }
    }
}

/// What a model's numbers are, as a file is called in the table.
pub(super) fn file_name(card: &Card) -> &'static str {
    match card.quantization.as_ref().map(|quantization| quantization.weights) {
        None => "float32",
        Some(WeightFormat::Int8) => "int8",
        Some(WeightFormat::Fp16) => "fp16",
    }
}

/// The files of a bundle, opened.
pub(super) struct Files<'a> {
    pub(super) card: &'a Card,
    pub(super) own: &'a Classifier,
    pub(super) optimized: Option<&'a Classifier>,
    pub(super) twin: Option<&'a Classifier>,
}

/// What is known of a model's accuracy, and how it was found.
struct Known {
    split: Split,
    n: usize,
    attack: AttackSpec,
    /// Clean and robust.
    accuracies: Option<[Accuracy; 2]>,
}

impl Known {
    /// What the card says; where it says nothing, what is usual.
    fn of(card: &Card) -> Self {
        let metric = |name: &str| card.metrics.iter().find(|metric| metric.name == name);
        let usual = || AttackSpec {
            steps: 20,
            restarts: 1,
            ..card.threat.clone().unwrap_or_else(AttackSpec::pgd20)
        };
        match (metric("clean"), metric("robust")) {
            (Some(clean), Some(robust)) => Self {
                split: clean.split.parse().unwrap_or(Split::Validation),
                n: clean.accuracy.n,
                attack: robust.attack.clone().unwrap_or_else(usual),
                accuracies: Some([clean.accuracy, robust.accuracy]),
            },
            _ => Self { split: Split::Validation, n: IMAGES, attack: usual(), accuracies: None },
        }
    }
}

/// Measures every file on the images at `data`.
pub(super) fn accuracies(
    files: &Files<'_>,
    (path, images): (&Path, Option<usize>),
    engine: &Engine,
) -> Result<Vec<Figure>, VerifyError> {
    let mut known = Known::of(files.card);
    if images.is_some_and(|n| n != known.n) {
        known.accuracies = None;
    }
    let n = images.unwrap_or(known.n);
    let data = images_of(files.own, path, &Request::new(known.split).limit(n))?;
    if measured_on(files.card).is_some_and(|digest| *digest != data.digest) {
        known.accuracies = None;
    }
    let measured = Measured::new(files, &data, &known.attack, engine)?;
    Ok(measured.figures(files, &known))
}

/// The images that the card's figures are of, where it says so.
fn measured_on(card: &Card) -> Option<&Digest> {
    match &card.quantization {
        Some(quantization) => Some(&quantization.data),
        None => card.lineage.ancestors.get("checkpoint")?.parents.get("validation"),
    }
}

struct Measured {
    own: [Accuracy; 2],
    optimized: Option<[Accuracy; 2]>,
    twin: Option<[Accuracy; 2]>,
}

impl Measured {
    fn new(
        files: &Files<'_>,
        data: &Dataset,
        attack: &AttackSpec,
        engine: &Engine,
    ) -> Result<Self, VerifyError> {
        let twin = files.twin.unwrap_or(files.own);
        let graphs = Graphs::build(twin, [HEAD])?;
        let trial = Trial { data, spec: attack, options: engine.options() };
        let measure = |served: &Classifier| -> Result<[Accuracy; 2], VerifyError> {
            tracing::info!("measuring `{}` on {} images", served.path().display(), data.len());
            Ok(trial.run(Steered { served, twin, graphs: &graphs })?.accuracies())
        };
        Ok(Self {
            own: measure(files.own)?,
            optimized: files.optimized.map(measure).transpose()?,
            twin: files.twin.map(measure).transpose()?,
        })
    }

    fn figures(&self, files: &Files<'_>, known: &Known) -> Vec<Figure> {
        let file = file_name(files.card);
        let attack = known.attack.label();
        let quantization = files.card.quantization.as_ref();
        let mut figures = Vec::new();
        for (at, what) in ["clean", attack.as_str()].into_iter().enumerate() {
            let expected = known.accuracies.as_ref().map(|known| &known[at]);
            let (tolerance, why) = match (expected, quantization, files.twin) {
                (None, ..) => (0.0, "measured only: the card has no figure of these images"),
                (_, None, _) => {
                    (TRAINER, "the checkpoint's figure: the trainer rounds in its own way")
                }
                (_, Some(_), None) if at == 1 => {
                    (TRAINER, "the card's: without `--twin` along this file's own gradients")
                }
                _ => (SAME_FILE, "the card's: another processor rounds in another way"),
            };
            let found = &self.own[at];
            figures.push(Figure::accuracy((file, what), found, expected, (tolerance, false), why));
            if let (Some(twin), Some(quantization)) = (&self.twin, quantization) {
                let of_card = [&quantization.clean.float, &quantization.robust.float][at];
                let expected = known.accuracies.as_ref().map(|_| of_card);
                let why = "the card's of the twin: another processor rounds in another way";
                let row = ("float32", what);
                figures.push(Figure::accuracy(row, &twin[at], expected, (SAME_FILE, false), why));
                let why = "float32, measured now: `--max-drop` when it was quantised";
                let limit = (quantization.max_drop, true);
                figures.push(Figure::accuracy((file, what), found, Some(&twin[at]), limit, why));
            }
            if let Some(optimized) = &self.optimized {
                let why = "the same model before ONNX Runtime fused its operators";
                let row = ("optimised", what);
                let limit = (SAME_FILE, false);
                figures.push(Figure::accuracy(row, &optimized[at], Some(found), limit, why));
            }
        }
        figures
    }
}

/// The twin of a quantised bundle; an error where it is another model's.
pub(super) fn open_twin(card: &Card, path: &Path) -> Result<Bundle, VerifyError> {
    let twin = Bundle::open(path)?;
    let Some(quantization) = &card.quantization else {
        return Err(VerifyError::NotQuantized { name: card.name.clone() });
    };
    if quantization.twin != twin.card.model {
        return Err(VerifyError::OtherTwin {
            path: path.display().to_string(),
            expected: quantization.twin.clone(),
            found: twin.card.model.clone(),
        });
    }
    Ok(twin)
}
