//! A session that runs as many images as there are, as they lie on the wire.

use std::fmt;
use std::sync::Arc;

use half::{bf16, f16};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{TensorElementType, TensorRef};

use super::worker::floats;
use super::{Classifier, SessionError};

/// The numbers that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Bytes, 0 to 255.
    Uint8,
    /// float16.
    Float16,
    /// bfloat16.
    Bfloat16,
    /// float32.
    Float32,
    /// float64.
    Float64,
}

impl Element {
    pub(super) fn of(ty: TensorElementType) -> Self {
        match ty {
            TensorElementType::Uint8 => Self::Uint8,
            TensorElementType::Float16 => Self::Float16,
            TensorElementType::Bfloat16 => Self::Bfloat16,
            TensorElementType::Float64 => Self::Float64,
            // A signature lets no other through.
            _ => Self::Float32,
        }
    }

    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Uint8 => 1,
            Self::Float16 | Self::Bfloat16 => 2,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }
}

/// Ends one run from another thread.
#[derive(Clone)]
pub struct Stop(Arc<RunOptions>);

impl Stop {
    /// A switch for one run.
    ///
    /// # Errors
    /// If ONNX Runtime has no memory for it.
    pub fn new() -> Result<Self, SessionError> {
        RunOptions::new().map(|options| Self(Arc::new(options))).map_err(SessionError::Run)
    }

    /// Ends the run, or keeps it from beginning; it fails then.
    pub fn stop(&self) {
        if let Err(error) = self.0.terminate() {
            tracing::warn!(%error, "a run cannot be ended");
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}

/// A classifier's session, owned by one thread, with room for the images of its next run.
///
/// In contrast to [`Worker`](super::Worker) it takes the model's own input rather than pixels, and
/// does not fill a batch up where the model leaves the number of images free: one image costs one.
#[derive(Debug)]
pub struct Runner {
    session: Session,
    name: String,
    output: String,
    dims: [usize; 3],
    classes: usize,
    fixed: Option<usize>,
    largest: usize,
    numbers: Numbers,
}

impl Runner {
    /// A runner of `classifier` that sends at most `largest` images through it at once.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the model.
    pub fn new(classifier: &Classifier, largest: usize) -> Result<Self, SessionError> {
        Ok(Self::of(classifier.session()?, classifier, largest))
    }

    /// As [`new`](Self::new), on `threads` threads together.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn wide(
        classifier: &Classifier,
        largest: usize,
        threads: usize,
    ) -> Result<Self, SessionError> {
        Ok(Self::of(classifier.wide_session(threads)?, classifier, largest))
    }

    fn of(session: Session, classifier: &Classifier, largest: usize) -> Self {
        Self {
            session,
            name: classifier.input_name().to_owned(),
            output: classifier.output_name().to_owned(),
            dims: classifier.dims(),
            classes: classifier.classes(),
            fixed: classifier.fixed_batch(),
            largest: classifier.batch(largest),
            numbers: Numbers::of(classifier.element()),
        }
    }

    /// Adds images to the next run: whole ones, as [`Packer`](super::Packer) makes them.
    pub fn push(&mut self, images: &[u8]) {
        self.numbers.extend(images);
    }

    /// Runs the images that were added, and forgets them; appends their logits to `logits`.
    ///
    /// # Errors
    /// If the model fails or the run is stopped.
    pub fn run(&mut self, stop: &Stop, logits: &mut Vec<f32>) -> Result<(), SessionError> {
        let done = self.run_all(stop, logits);
        self.numbers.clear();
        done
    }

    fn run_all(&mut self, stop: &Stop, logits: &mut Vec<f32>) -> Result<(), SessionError> {
        let image: usize = self.dims.iter().product();
        let n = self.numbers.len() / image.max(1);
        for start in (0..n).step_by(self.largest) {
            let rows = self.largest.min(n - start);
            let batch = self.fixed.unwrap_or(rows);
            self.numbers.fill((start + batch) * image);
            let range = start * image..(start + batch) * image;
            let [first, second, third] = self.dims;
            let shape = [batch, first, second, third];
            let input = self.numbers.tensor(range, shape).map_err(SessionError::Run)?;
            let inputs = vec![(self.name.as_str(), input)];
            let outputs =
                self.session.run_with_options(inputs, &*stop.0).map_err(SessionError::Run)?;
            let values = floats(&outputs, &self.output, &[batch, self.classes])?;
            logits.extend_from_slice(&values[..rows * self.classes]);
        }
        Ok(())
    }
}

/// The input of a run, in memory that is used again.
#[derive(Debug)]
enum Numbers {
    Uint8(Vec<u8>),
    Float16(Vec<f16>),
    Bfloat16(Vec<bf16>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
}

impl Numbers {
    fn of(element: Element) -> Self {
        match element {
            Element::Uint8 => Self::Uint8(Vec::new()),
            Element::Float16 => Self::Float16(Vec::new()),
            Element::Bfloat16 => Self::Bfloat16(Vec::new()),
            Element::Float32 => Self::Float32(Vec::new()),
            Element::Float64 => Self::Float64(Vec::new()),
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::Uint8(to) => to.extend_from_slice(bytes),
            Self::Float16(to) => {
                to.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b)));
            }
            Self::Bfloat16(to) => {
                to.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b)));
            }
            Self::Float32(to) => {
                to.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
            }
            Self::Float64(to) => {
                to.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)));
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Uint8(v) => v.len(),
            Self::Float16(v) => v.len(),
            Self::Bfloat16(v) => v.len(),
            Self::Float32(v) => v.len(),
            Self::Float64(v) => v.len(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Uint8(v) => v.clear(),
            Self::Float16(v) => v.clear(),
            Self::Bfloat16(v) => v.clear(),
            Self::Float32(v) => v.clear(),
            Self::Float64(v) => v.clear(),
        }
    }

    /// Fills up with blank ones where there are fewer than `len`.
    fn fill(&mut self, len: usize) {
        if self.len() >= len {
            return;
        }
        match self {
            Self::Uint8(v) => v.resize(len, 0),
            Self::Float16(v) => v.resize(len, f16::ZERO),
            Self::Bfloat16(v) => v.resize(len, bf16::ZERO),
            Self::Float32(v) => v.resize(len, 0.0),
            Self::Float64(v) => v.resize(len, 0.0),
        }
    }

    fn tensor(
        &self,
        range: std::ops::Range<usize>,
        shape: [usize; 4],
    ) -> Result<SessionInputValue<'_>, ort::Error> {
        Ok(match self {
            Self::Uint8(v) => TensorRef::from_array_view((shape, &v[range]))?.into(),
            Self::Float16(v) => TensorRef::from_array_view((shape, &v[range]))?.into(),
            Self::Bfloat16(v) => TensorRef::from_array_view((shape, &v[range]))?.into(),
            Self::Float32(v) => TensorRef::from_array_view((shape, &v[range]))?.into(),
            Self::Float64(v) => TensorRef::from_array_view((shape, &v[range]))?.into(),
        })
    }
}
