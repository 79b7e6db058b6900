//! The form of a model that ONNX Runtime would make of it at every start, made once.
//!
//! Beside it goes the list of the operators that both files need, in the format of ONNX Runtime's
//! `--include_ops_by_config`: a runtime built with it has no other kernels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ndarray::Array2;
use rift_models::artifact::atomic::{self, AtomicError};
use rift_models::artifact::{Bundle, Optimized, Probe, ProbeError};
use rift_models::onnx::proto::OperatorSetIdProto;
use rift_models::onnx::{Model, OnnxError};
use rift_runtime::audit::report::instruction_set;
use rift_runtime::session::ahead::{self, Reach};
use rift_runtime::session::{Classifier, SessionError};

use crate::verify::engine::Engine;
use crate::verify::parity::{self, Comparison, ShapeMismatch};

/// A model that cannot be optimised.
#[derive(Debug, thiserror::Error)]
pub enum OptimizeError {
    /// ONNX Runtime refuses the model.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// What ONNX Runtime wrote is not a model.
    #[error("ONNX Runtime's optimised model cannot be read")]
    Onnx(#[from] OnnxError),
    /// The probe cannot be read.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The optimised model gives something else than logits.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
    /// The answer is no: the optimised model is another one.
    #[error(
        "nothing written: the logits of ONNX Runtime's optimised form differ from the model's by up to \
         {:.3e}, accepted is {:e} (worst: {}); leave `--optimize` out",
        .0.parity.max_abs_difference, .0.parity.tolerance, .0.worst
    )]
    Parity(Box<Comparison>),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// The name of a reach, in cards.
pub fn name(reach: Reach) -> &'static str {
    match reach {
        Reach::Portable => "portable",
        Reach::ThisMachine => "this-machine",
    }
}

/// Writes the optimised form of `model` and the list of operators into `folder`.
///
/// # Errors
/// If ONNX Runtime refuses the model or a file cannot be written.
pub fn add(folder: &Path, model: &Model, reach: Reach) -> Result<Optimized, OptimizeError> {
    let path = folder.join(Bundle::OPTIMIZED);
    let classifier = Classifier::from_bytes(&path, model.to_bytes())?;
    ahead::optimise(&classifier, &path, reach)?;
    let optimized = Model::read(&path)?;
    // Once more by our own hand: the same model gives the same bytes, flushed to the disk.
    let digest = optimized.write(&path)?;
    let list = operators(&[model, &optimized]);
    atomic::write(&folder.join(Bundle::OPERATORS), list.as_bytes())?;
    Ok(Optimized {
        model: digest,
        reach: name(reach).to_owned(),
        onnxruntime: classifier.library().version(),
        instruction_set: instruction_set(),
    })
}

/// Holds the optimised form in `folder` against the model beside it, on the probe.
///
/// # Errors
/// If one does not run, or a logit differs by more than `tolerance`.
pub fn check(folder: &Path, tolerance: f64, engine: &Engine) -> Result<(), OptimizeError> {
    let (probe, _) = Probe::read(&folder.join(Bundle::PROBE))?;
    let logits = |file: &str| -> Result<Array2<f32>, OptimizeError> {
        let path = folder.join(file);
        Ok(engine.logits(&path, Model::read(&path)?.to_bytes(), &probe.images)?)
    };
    let compared =
        parity::compare(&logits(Bundle::MODEL)?, &logits(Bundle::OPTIMIZED)?, tolerance)?;
    if compared.parity.holds() { Ok(()) } else { Err(OptimizeError::Parity(Box::new(compared))) }
}

/// Whether the list of operators in `folder` is that of the two models there, but for remarks.
///
/// # Errors
/// If a model cannot be read.
pub fn is_listed(folder: &Path) -> Result<bool, OnnxError> {
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let [model, optimized] =
        [Bundle::MODEL, Bundle::OPTIMIZED].map(|file| Model::read(&folder.join(file)));
    let expected = operators(&[&model?, &optimized?]);
    let found = std::fs::read_to_string(folder.join(Bundle::OPERATORS));
    Ok(found.is_ok_and(|found| lines(&found) == lines(&expected)))
}

/// The operators of `models`, a line for each domain and version: `ai.onnx;17;Add,Conv`.
pub fn operators(models: &[&Model]) -> String {
    let mut lines: BTreeMap<(String, i64), BTreeSet<&str>> = BTreeMap::new();
    for model in models {
        for node in &model.graph().node {
            let domain = if node.domain().is_empty() { "ai.onnx" } else { node.domain() };
            let imports = &model.proto().opset_import;
            let version = imports
                .iter()
                .find(|import| import.domain() == node.domain())
                .map_or(model.opset(), OperatorSetIdProto::version);
            lines.entry((domain.to_owned(), version)).or_default().insert(node.op_type());
        }
    }
    let mut text = String::from("# operators of model.onnx and optimized.onnx\n");
    for ((domain, version), operators) in lines {
        let operators: Vec<&str> = operators.into_iter().collect();
        text.extend([domain, format!(";{version};"), operators.join(","), "\n".to_owned()]);
    }
    text
}
