//! The numbers inside a model, as images go through it.

use ndarray::{ArrayView4, Axis};
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use rift_models::onnx::proto::ValueInfoProto;
use rift_models::onnx::{Model, OnnxError};

use super::{Classifier, SessionError};

/// A session of a classifier whose inner values are outputs.
#[derive(Debug)]
pub struct Observer {
    session: Session,
    input_name: String,
    values: Vec<String>,
    batch: usize,
}

impl Observer {
    /// An observer of `values`, float32 values that the classifier's nodes make, on `batch` images
    /// at once or on as many as the model insists on.
    ///
    /// # Errors
    /// If no node makes one of the values, or ONNX Runtime refuses the model.
    pub fn new(
        classifier: &Classifier,
        values: &[String],
        batch: usize,
    ) -> Result<Self, SessionError> {
        let exposed = exposed(classifier.model(), values).map_err(|source| {
            let path = classifier.path().display().to_string();
            SessionError::Onnx { path, source }
        })?;
        Ok(Self {
            session: classifier.session_of(&exposed.to_bytes())?,
            input_name: classifier.input_name().to_owned(),
            values: values.to_vec(),
            batch: classifier.fixed_batch().unwrap_or(batch.max(1)),
        })
    }

    /// Images that go through the model at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Runs the model and shows `see` each value's name and numbers, in the order in which they were
    /// asked for.
    ///
    /// # Shapes
    /// `images` is `N × C × H × W` in pixels; a model that insists on a number of images sees only
    /// whole batches of them.
    ///
    /// # Errors
    /// If the model fails or a value is not float32.
    pub fn look(
        &mut self,
        images: &ArrayView4<f32>,
        mut see: impl FnMut(&str, &[f32]),
    ) -> Result<(), SessionError> {
        for images in images.axis_chunks_iter(Axis(0), self.batch) {
            let images = images.as_standard_layout();
            let image = TensorRef::from_array_view(&images).map_err(SessionError::Run)?;
            let inputs = vec![(self.input_name.as_str(), SessionInputValue::from(image))];
            let outputs = self.session.run(inputs).map_err(SessionError::Run)?;
            for name in &self.values {
                let missing = || SessionError::Output {
                    output: name.clone(),
                    found: Vec::new(),
                    expected: vec![images.len_of(Axis(0)) as i64],
                };
                let value = outputs.get(name).ok_or_else(missing)?;
                let (_, numbers) = value.try_extract_tensor::<f32>().map_err(SessionError::Run)?;
                see(name, numbers);
            }
        }
        Ok(())
    }
}

/// `model` with these values as its outputs, and with no other.
fn exposed(model: &Model, values: &[String]) -> Result<Model, OnnxError> {
    let mut proto = model.proto().clone();
    if let Some(graph) = &mut proto.graph {
        let output = |value: &String| ValueInfoProto {
            name: Some(value.clone()),
            ..ValueInfoProto::default()
        };
        graph.output = values.iter().map(output).collect();
    }
    let exposed = Model::from_proto(proto)?;
    rift_models::onnx::GraphIndex::new(&exposed)?;
    Ok(exposed)
}
