//! ONNX Runtime's own optimised form of a model, made before the model is deployed.

use std::path::Path;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{Classifier, SessionError};

/// How far a model is optimised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// With what every machine can run.
    Portable,
    /// Also with layouts of this machine's instruction set: only for machines that have it.
    ThisMachine,
}

/// Writes the form of `classifier` that ONNX Runtime would make of it at every start.
///
/// # Errors
/// If ONNX Runtime refuses the model or the path cannot be written.
pub fn optimise(classifier: &Classifier, path: &Path, reach: Reach) -> Result<(), SessionError> {
    let level = match reach {
        Reach::Portable => GraphOptimizationLevel::Level2,
        Reach::ThisMachine => GraphOptimizationLevel::All,
    };
    let settings = |builder: SessionBuilder| -> Result<SessionBuilder, ort::Error<SessionBuilder>> {
        builder
            .with_optimization_level(level)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_optimized_model_path(path)
    };
    let failed = |source| {
        let path = classifier.path().display().to_string();
        SessionError::Load { path, source }
    };
    let plain = |error: ort::Error<SessionBuilder>| {
        failed(ort::Error::new_with_code(error.code(), error.message()))
    };
    let builder = Session::builder(classifier.library().environment()).map_err(failed)?;
    let mut builder = settings(builder).map_err(plain)?;
    builder.commit_from_memory(&classifier.model().to_bytes()).map_err(failed)?;
    Ok(())
}
