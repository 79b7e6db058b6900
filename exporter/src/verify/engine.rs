//! ONNX Runtime, as the runtime's own sessions use it.

use std::path::Path;

use ndarray::{Array2, Array4};
use rift_runtime::session::{
    Classifier, LibraryError, Pool, SessionError, SessionOptions, library,
};

/// ONNX Runtime, loaded, with the number of threads that models run on.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    options: SessionOptions,
}

impl Engine {
    /// Loads ONNX Runtime, from the file `library` or the usual places, to run models on `threads`
    /// threads, or on one for each core.
    ///
    /// # Errors
    /// If the library cannot be had.
    pub fn start(library: Option<&Path>, threads: Option<usize>) -> Result<Self, LibraryError> {
        let found = library::load(library)?;
        tracing::debug!("loaded ONNX Runtime {}", found.version());
        let default = SessionOptions::default();
        let options = SessionOptions { threads: self::threads(threads), ..default };
        Ok(Self { options })
    }

    /// How work is spread over threads.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// The logits of the model whose file's content is `model`; `path` names it in errors.
    ///
    /// # Shapes
    /// `images` is `N × C × H × W` in pixels, the result `N × classes`.
    ///
    /// # Errors
    /// If the model is not a classifier of such images, or fails.
    pub fn logits(
        &self,
        path: &Path,
        model: Vec<u8>,
        images: &Array4<f32>,
    ) -> Result<Array2<f32>, SessionError> {
        tracing::info!("running the model on {} images of the probe", images.dim().0);
        let classifier = Classifier::from_bytes(path, model)?;
        Pool::new(&classifier, &self.options, images.dim().0)?.logits(&images.view())
    }
}

/// The number of threads that is asked for, or one for each core.
pub fn threads(wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| SessionOptions::default().threads)
}
