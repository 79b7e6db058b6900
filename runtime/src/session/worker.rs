//! The sessions of one thread.

use ndarray::{Array1, Array2, Array4, ArrayView4, Axis, Slice};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::TensorRef;

use super::{Classifier, SessionError};
use crate::attack::oracle::Gradient;

/// The input of a gradient graph that takes the true classes, int64 N.
const LABELS: &str = "labels";
/// The input of a gradient graph that takes the classes aimed at, int64 N.
const TARGETS: &str = "targets";
/// The output of a gradient graph that holds each image's loss.
const LOSS: &str = "loss";
/// The output of a gradient graph that holds its logits.
const LOGITS: &str = "logits";
/// The output of a gradient graph that holds ∂ loss / ∂ image.
const GRADIENT: &str = "input_gradient";

/// A classifier's sessions, owned by one thread: ONNX Runtime's `Run` must not be shared.
///
/// Every run carries exactly [`batch`](Self::batch) images, the last ones blank where there are
/// fewer, so that the kernels are the same whatever the number of images.
#[derive(Debug)]
pub struct Worker {
    forward: Session,
    gradient: Option<Session>,
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
            gradient: None,
            input_name: classifier.input_name().to_owned(),
            output_name: classifier.output_name().to_owned(),
            input: classifier.input(),
            classes: classifier.classes(),
            batch: classifier.fixed_batch().unwrap_or(batch.max(1)),
        })
    }

    /// The worker with a session of the classifier's gradient graph as well.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the graph.
    pub fn with_gradient(
        mut self,
        classifier: &Classifier,
        graph: &[u8],
    ) -> Result<Self, SessionError> {
        self.set_gradient(classifier, graph)?;
        Ok(self)
    }

    /// Puts a session of another gradient graph in the place of the one that is there.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the graph.
    pub fn set_gradient(
        &mut self,
        classifier: &Classifier,
        graph: &[u8],
    ) -> Result<(), SessionError> {
        // The old one goes first: two are never in memory.
        self.gradient = None;
        self.gradient = Some(classifier.session_of(graph)?);
        Ok(())
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
        self.check(images)?;
        let mut logits = Array2::zeros((images.len_of(Axis(0)), self.classes));
        for (images, mut rows) in images
            .axis_chunks_iter(Axis(0), self.batch)
            .zip(logits.axis_chunks_iter_mut(Axis(0), self.batch))
        {
            let padded = padded(&images, self.batch);
            let image = TensorRef::from_array_view(&padded).map_err(SessionError::Run)?;
            let inputs = vec![(self.input_name.as_str(), SessionInputValue::from(image))];
            let outputs = self.forward.run(inputs).map_err(SessionError::Run)?;
            let shape = [self.batch, self.classes];
            copy(&outputs, &self.output_name, &shape, rows.iter_mut())?;
        }
        Ok(logits)
    }

    /// The gradient of each image's loss, for a loss without targets.
    ///
    /// # Errors
    /// As [`gradient`](Self::gradient).
    pub fn loss_gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
    ) -> Result<Gradient, SessionError> {
        self.gradient(images, labels, labels)
    }

    /// The gradient of each image's loss with respect to its pixels.
    ///
    /// # Errors
    /// If the images do not fit the model, the worker has no gradient graph or it fails.
    pub fn gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
        targets: &[usize],
    ) -> Result<Gradient, SessionError> {
        self.check(images)?;
        let session = self.gradient.as_mut().ok_or(SessionError::NoGradient)?;
        let names: Vec<String> = session.inputs().iter().map(|i| i.name().to_owned()).collect();
        let n = images.len_of(Axis(0));
        let (mut logits, mut losses) = (Array2::zeros((n, self.classes)), Array1::zeros(n));
        let mut gradient = Array4::zeros(images.raw_dim());
        let [c, h, w] = self.input;
        for start in (0..n).step_by(self.batch) {
            let rows = start..n.min(start + self.batch);
            let slice = Slice::from(rows.clone());
            let padded = padded(&images.slice_axis(Axis(0), slice), self.batch);
            let image = TensorRef::from_array_view(&padded).map_err(SessionError::Run)?;
            let mut inputs = vec![(self.input_name.as_str(), SessionInputValue::from(image))];
            let [labels, targets] =
                [labels, targets].map(|classes| row_of(&classes[rows.clone()], self.batch));
            for (name, classes) in [(LABELS, &labels), (TARGETS, &targets)] {
                if names.iter().any(|n| n == name) {
                    let classes = TensorRef::from_array_view(classes).map_err(SessionError::Run)?;
                    inputs.push((name, SessionInputValue::from(classes)));
                }
            }
            let outputs = session.run(inputs).map_err(SessionError::Run)?;
            let (batch, classes) = (self.batch, self.classes);
            let mut rows = logits.slice_axis_mut(Axis(0), slice);
            copy(&outputs, LOGITS, &[batch, classes], rows.iter_mut())?;
            let mut rows = losses.slice_axis_mut(Axis(0), slice);
            copy(&outputs, LOSS, &[batch], rows.iter_mut())?;
            let mut rows = gradient.slice_axis_mut(Axis(0), slice);
            copy(&outputs, GRADIENT, &[batch, c, h, w], rows.iter_mut())?;
        }
        Ok(Gradient { logits, losses, gradient })
    }

    fn check(&self, images: &ArrayView4<f32>) -> Result<(), SessionError> {
        let (_, c, h, w) = images.dim();
        if [c, h, w] == self.input {
            Ok(())
        } else {
            Err(SessionError::Shape { expected: self.input, found: [c, h, w] })
        }
    }
}

/// The classes, then 0, `batch` in all.
fn row_of(classes: &[usize], batch: usize) -> Array1<i64> {
    Array1::from_shape_fn(batch, |n| classes.get(n).map_or(0, |class| *class as i64))
}

/// The images, then blank ones, `batch` in all.
fn padded(images: &ArrayView4<f32>, batch: usize) -> Array4<f32> {
    let (n, c, h, w) = images.dim();
    let mut padded = Array4::zeros((batch, c, h, w));
    padded.slice_axis_mut(Axis(0), (0..n).into()).assign(images);
    padded
}

/// Copies the first numbers of an output, which must be float32 of `shape`, or of `shape` and
/// further dimensions of length 1.
fn copy<'t>(
    outputs: &SessionOutputs,
    name: &str,
    shape: &[usize],
    to: impl Iterator<Item = &'t mut f32>,
) -> Result<(), SessionError> {
    let expected: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
    let wrong = |found: Vec<i64>, expected| SessionError::Output {
        output: name.to_owned(),
        found,
        expected,
    };
    let Some(value) = outputs.get(name) else { return Err(wrong(Vec::new(), expected)) };
    let (found, values) = value.try_extract_tensor::<f32>().map_err(SessionError::Run)?;
    let fits = found.strip_prefix(&expected[..]).is_some_and(|rest| rest.iter().all(|d| *d == 1));
    if !fits {
        return Err(wrong(found.to_vec(), expected));
    }
    for (to, from) in to.zip(values) {
        *to = *from;
    }
    Ok(())
}
