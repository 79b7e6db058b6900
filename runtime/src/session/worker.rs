//! The sessions of one thread.

use ndarray::{Array2, Array4, ArrayView4, Axis};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};

use super::{Classifier, SessionError};

/// A classifier's sessions, owned by one thread: ONNX Runtime's `Run` must not be shared.
///
/// Every run carries exactly [`batch`](Self::batch) images, the last ones blank where there are
/// fewer, so that the kernels are the same whatever the number of images.
#[derive(Debug)]
pub struct Worker {
    forward: Session,
    input_name: String,
    output_name: String,
    input: [usize; 3],
    classes: usize,
    batch: usize,
}

impl Worker {
    /// A worker of `classifier` that runs `batch` images at once, or as many as the model insists
    /// on.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the model.
    pub fn new(classifier: &Classifier, batch: usize) -> Result<Self, SessionError> {
        Ok(Self {
            forward: classifier.session()?,
            input_name: classifier.input_name().to_owned(),
            output_name: classifier.output_name().to_owned(),
            input: classifier.input(),
            classes: classifier.classes(),
            batch: classifier.fixed_batch().unwrap_or(batch.max(1)),
        })
    }

    /// Images that go through the model at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The logits of any number of images.
    ///
    /// # Shapes
    /// `N × C × H × W` in pixels to `N × classes`.
    ///
    /// # Errors
    /// If the images do not fit the model or it fails.
    pub fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, SessionError> {
        let (n, c, h, w) = images.dim();
        if [c, h, w] != self.input {
            return Err(SessionError::Shape { expected: self.input, found: [c, h, w] });
        }
        let mut logits = Array2::zeros((n, self.classes));
        for (images, mut rows) in images
            .axis_chunks_iter(Axis(0), self.batch)
            .zip(logits.axis_chunks_iter_mut(Axis(0), self.batch))
        {
            let padded = padded(&images, self.batch);
            let image = TensorRef::from_array_view(&padded).map_err(SessionError::Run)?;
            let inputs = vec![(self.input_name.as_str(), SessionInputValue::from(image))];
            let outputs = self.forward.run(inputs).map_err(SessionError::Run)?;
            let values = floats(
                outputs.get(&self.output_name),
                &self.output_name,
                &[self.batch, self.classes],
            )?;
            for (to, from) in rows.iter_mut().zip(values) {
                *to = *from;
            }
        }
        Ok(logits)
    }
}

/// The images, then blank ones, `batch` in all.
fn padded(images: &ArrayView4<f32>, batch: usize) -> Array4<f32> {
    let (n, c, h, w) = images.dim();
    let mut padded = Array4::zeros((batch, c, h, w));
    padded.slice_axis_mut(Axis(0), (0..n).into()).assign(images);
    padded
}

/// The numbers of a session's output, which must be float32 of this shape.
fn floats<'v>(
    value: Option<&'v DynValue>,
    name: &str,
    expected: &[usize],
) -> Result<&'v [f32], SessionError> {
    let wrong = |found: Vec<i64>| {
        let expected = expected.iter().map(|d| *d as i64).collect();
        SessionError::Output { output: name.to_owned(), found, expected }
    };
    let (shape, values) = value
        .ok_or_else(|| wrong(Vec::new()))?
        .try_extract_tensor::<f32>()
        .map_err(SessionError::Run)?;
    if !shape.iter().copied().eq(expected.iter().map(|d| *d as i64)) {
        return Err(wrong(shape.to_vec()));
    }
    Ok(values)
}
