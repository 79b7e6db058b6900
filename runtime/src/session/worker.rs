//! The sessions of one thread.

use std::borrow::Cow;

use half::{bf16, f16};
use ndarray::{Array1, Array2, Array4, ArrayView4, Axis, Slice};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::{DynValue, Tensor, TensorElementType, TensorRef};

use super::intake::Intake;
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
    steering: Option<Steering>,
    intake: Intake,
    output_name: String,
    classes: usize,
    batch: usize,
}

/// A gradient graph, of the classifier that is served or of a twin.
#[derive(Debug)]
struct Steering {
    session: Session,
    intake: Intake,
    /// Images that go through it at once.
    batch: usize,
    takes_targets: bool,
    takes_labels: bool,
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
            steering: None,
            intake: classifier.intake().clone(),
            output_name: classifier.output_name().to_owned(),
            classes: classifier.classes(),
            batch: classifier.batch(batch),
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

    /// Puts a session of another gradient graph in the place of the one that is there; `source` is
    /// the classifier that it was made from.
    ///
    /// # Errors
    /// If ONNX Runtime refuses the graph.
    pub fn set_gradient(&mut self, source: &Classifier, graph: &[u8]) -> Result<(), SessionError> {
        // The old one goes first: two are never in memory.
        self.steering = None;
        let session = source.session_of(graph)?;
        let takes = |name: &str| session.inputs().iter().any(|input| input.name() == name);
        let (takes_labels, takes_targets) = (takes(LABELS), takes(TARGETS));
        let (intake, batch) = (source.intake().clone(), source.batch(self.batch));
        self.steering = Some(Steering { session, intake, batch, takes_targets, takes_labels });
        Ok(())
    }

    /// Sends this many images through the model at once, unless it insists on a number.
    pub fn set_batch(&mut self, batch: usize) {
        self.batch = self.intake.batch.unwrap_or(batch.max(1));
        if let Some(steering) = &mut self.steering {
            steering.batch = steering.intake.batch.unwrap_or(self.batch);
        }
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
            let image = self.intake.tensor(&images, self.batch)?;
            let inputs = vec![(self.intake.name.as_str(), image)];
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
        let steering = self.steering.as_mut().ok_or(SessionError::NoGradient)?;
        let Steering { session, intake, batch, .. } = steering;
        let batch = *batch;
        let n = images.len_of(Axis(0));
        let (mut logits, mut losses) = (Array2::zeros((n, self.classes)), Array1::zeros(n));
        let mut gradient = Array4::zeros(images.raw_dim());
        for start in (0..n).step_by(batch) {
            let rows = start..n.min(start + batch);
            let slice = Slice::from(rows.clone());
            let image = intake.floats(&images.slice_axis(Axis(0), slice), batch);
            let image = Tensor::from_array(image).map_err(SessionError::Run)?;
            let mut inputs = vec![(intake.name.as_str(), SessionInputValue::from(image))];
            let [labels, targets] =
                [labels, targets].map(|classes| row_of(&classes[rows.clone()], batch));
            for (name, classes, is_taken) in [
                (LABELS, &labels, steering.takes_labels),
                (TARGETS, &targets, steering.takes_targets),
            ] {
                if is_taken {
                    let classes = TensorRef::from_array_view(classes).map_err(SessionError::Run)?;
                    inputs.push((name, SessionInputValue::from(classes)));
                }
            }
            let outputs = session.run(inputs).map_err(SessionError::Run)?;
            let mut rows = logits.slice_axis_mut(Axis(0), slice);
            copy(&outputs, LOGITS, &[batch, self.classes], rows.iter_mut())?;
            let mut rows = losses.slice_axis_mut(Axis(0), slice);
            copy(&outputs, LOSS, &[batch], rows.iter_mut())?;
            let [first, second, third] = intake.dims();
            let values = floats(&outputs, GRADIENT, &[batch, first, second, third])?;
            intake.to_pixels(&values, gradient.slice_axis_mut(Axis(0), slice));
        }
        Ok(Gradient { logits, losses, gradient })
    }

    fn check(&self, images: &ArrayView4<f32>) -> Result<(), SessionError> {
        let (_, c, h, w) = images.dim();
        let expected = self.intake.input;
        if [c, h, w] == expected {
            Ok(())
        } else {
            Err(SessionError::Shape { expected, found: [c, h, w] })
        }
    }
}

/// The classes, then 0, `batch` in all.
fn row_of(classes: &[usize], batch: usize) -> Array1<i64> {
    Array1::from_shape_fn(batch, |n| classes.get(n).map_or(0, |class| *class as i64))
}

/// Copies the first numbers of an output of `shape`.
fn copy<'t>(
    outputs: &SessionOutputs,
    name: &str,
    shape: &[usize],
    to: impl Iterator<Item = &'t mut f32>,
) -> Result<(), SessionError> {
    for (to, from) in to.zip(floats(outputs, name, shape)?.iter()) {
        *to = *from;
    }
    Ok(())
}

/// The numbers of an output, which must be of `shape`, or of `shape` and further dimensions of
/// length 1; of any floating-point type.
pub(super) fn floats<'o>(
    outputs: &'o SessionOutputs,
    name: &str,
    shape: &[usize],
) -> Result<Cow<'o, [f32]>, SessionError> {
    let expected: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
    let wrong = |found: Vec<i64>, expected| SessionError::Output {
        output: name.to_owned(),
        found,
        expected,
    };
    let Some(value) = outputs.get(name) else { return Err(wrong(Vec::new(), expected)) };
    let found = value.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    let fits = found.strip_prefix(&expected[..]).is_some_and(|rest| rest.iter().all(|d| *d == 1));
    if !fits {
        return Err(wrong(found, expected));
    }
    values(value).map_err(SessionError::Run)
}

fn values(value: &DynValue) -> Result<Cow<'_, [f32]>, ort::Error> {
    Ok(match value.dtype().tensor_type() {
        Some(TensorElementType::Float16) => {
            value.try_extract_tensor::<f16>()?.1.iter().map(|v| v.to_f32()).collect()
        }
        Some(TensorElementType::Bfloat16) => {
            value.try_extract_tensor::<bf16>()?.1.iter().map(|v| v.to_f32()).collect()
        }
        Some(TensorElementType::Float64) => {
            value.try_extract_tensor::<f64>()?.1.iter().map(|v| *v as f32).collect()
        }
        _ => Cow::Borrowed(value.try_extract_tensor::<f32>()?.1),
    })
}
