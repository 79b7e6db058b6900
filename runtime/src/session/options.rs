//! How sessions are built.

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{Engine, Library};

/// How work is spread.
///
/// Neither number changes a result: each image's logits depend on that image alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Workers, each an OS thread with sessions of its own.
    pub threads: usize,
    /// Images that go through a session at once.
    pub batch: usize,
}

impl Default for SessionOptions {
    /// One worker a core over batches of 16, the fastest way on a CPU for networks of CIFAR's size.
    fn default() -> Self {
        Self { threads: std::thread::available_parallelism().map_or(1, Into::into), batch: 16 }
    }
}

/// A session that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The library has no such provider, or the machine not what it needs.
    #[error("the provider cannot be had")]
    Provider(#[source] ort::Error),
    /// ONNX Runtime refuses the model.
    #[error(transparent)]
    Model(#[from] ort::Error),
}

/// Builds a session that computes on the calling thread alone, as far as its provider lets it.
///
/// ONNX Runtime splits one operator over threads in ways that depend on their number, and scales
/// worse so than over whole batches; Rift runs one session a core instead.
///
/// # Errors
/// If the provider cannot be had or ONNX Runtime refuses the model.
pub fn build(library: &Library, engine: Engine, model: &[u8]) -> Result<Session, BuildError> {
    build_at(GraphOptimizationLevel::All, 1, (library, engine), model)
}

/// As [`build`], for few runs: the graph is taken as it is, since making it fast would take longer than
/// they do.
///
/// # Errors
/// As [`build`].
pub(super) fn build_plain(
    library: &Library,
    engine: Engine,
    model: &[u8],
) -> Result<Session, BuildError> {
    build_at(GraphOptimizationLevel::Disable, 1, (library, engine), model)
}

/// As [`build`], on `threads` threads together: for one image sooner, not for more images.
///
/// # Errors
/// As [`build`].
pub(super) fn build_wide(
    library: &Library,
    engine: Engine,
    threads: usize,
    model: &[u8],
) -> Result<Session, BuildError> {
    build_at(GraphOptimizationLevel::All, threads, (library, engine), model)
}

fn build_at(
    level: GraphOptimizationLevel,
    threads: usize,
    (library, engine): (&Library, Engine),
    model: &[u8],
) -> Result<Session, BuildError> {
    let settings =
        move |builder: SessionBuilder| -> Result<SessionBuilder, ort::Error<SessionBuilder>> {
            let builder = builder.with_optimization_level(level)?.with_inter_threads(1)?;
            // Threads look for work while a run lasts, and sleep between two: they burn a core otherwise.
            let stop = "session.force_spinning_stop";
            builder.with_intra_threads(threads)?.with_config_entry(stop, "1")
        };
    let mut builder =
        settings(Session::builder(library.environment())?).map_err(|error| plain(&error))?;
    if let Some(provider) = engine.dispatch() {
        builder = builder
            .with_execution_providers([provider])
            .map_err(|error| BuildError::Provider(plain(&error)))?;
    }
    Ok(builder.commit_from_memory(model)?)
}

/// The error without the builder that it carries.
fn plain(error: &ort::Error<SessionBuilder>) -> ort::Error {
    ort::Error::new_with_code(error.code(), error.message())
}
