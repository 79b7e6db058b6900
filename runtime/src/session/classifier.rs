//! A model that has been found to be a classifier of images.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::Array4;
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use rift_models::artifact::{Bundle, Digest, archive};
use rift_models::onnx::Model;

use super::{Library, SessionError, build, library};

/// A classifier as it is served: the bytes of one ONNX file, checked, and what is known of them.
#[derive(Debug)]
pub struct Classifier {
    path: PathBuf,
    library: &'static Library,
    bytes: Vec<u8>,
    digest: Digest,
    model: Model,
    bundle: Option<Bundle>,
    signature: Signature,
    class_names: Option<Vec<String>>,
    precautions: Vec<Precaution>,
    /// The session that the signature was found with, for the first who needs one.
    spare: Mutex<Option<Session>>,
}

/// What stands in the way of taking a model at its word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Precaution {
    /// No bundle surrounds the file.
    #[error("the model is a bare file: there is no card to check it against")]
    NoBundle,
    /// The metadata's class names cannot be used.
    #[error("the model's metadata `classes` is ignored: {0}")]
    ClassNames(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    input_name: String,
    output_name: String,
    input: [usize; 3],
    classes: usize,
    fixed_batch: Option<usize>,
}

impl Classifier {
    /// Opens a bundle, a folder or a `.tar.zst` archive, whose files are held against its card, or a
    /// bare `.onnx` file.
    ///
    /// ONNX Runtime is loaded if it is not yet, as [`library::load`] does.
    ///
    /// # Errors
    /// If there is no model, it is not what its card says, ONNX Runtime refuses it, or it is not a
    /// classifier of images that is supported.
    pub fn open(path: &Path) -> Result<Self, SessionError> {
        let is_bundle = path.is_dir() || archive::is_archive(path);
        let bundle = if is_bundle { Some(Bundle::open(path)?) } else { None };
        let file = bundle.as_ref().map_or_else(|| path.to_owned(), Bundle::model);
        let name = || path.display().to_string();
        let bytes =
            std::fs::read(&file).map_err(|source| SessionError::Read { path: name(), source })?;
        Self::of(path, bytes, bundle)
    }

    /// Opens the content of a bare `.onnx` file, on the disk or not yet; `path` names it in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, SessionError> {
        Self::of(path, bytes, None)
    }

    fn of(path: &Path, bytes: Vec<u8>, bundle: Option<Bundle>) -> Result<Self, SessionError> {
        let name = || path.display().to_string();
        let digest = Digest::of_bytes(&bytes);
        let model = Model::from_bytes(&bytes)
            .map_err(|source| SessionError::Onnx { path: name(), source })?;
        let library = library::load(None)?;
        let mut session =
            build(library, &bytes).map_err(|source| SessionError::Load { path: name(), source })?;
        let signature = Signature::of(&mut session, &name())?;
        let mut classifier = Self {
            path: path.to_owned(),
            library,
            bytes,
            digest,
            model,
            bundle,
            signature,
            class_names: None,
            precautions: Vec::new(),
            spare: Mutex::new(Some(session)),
        };
        classifier.name_classes()?;
        Ok(classifier)
    }

    /// The class names of the card, else those of the file's metadata.
    fn name_classes(&mut self) -> Result<(), SessionError> {
        let classes = self.signature.classes;
        if let Some(bundle) = &self.bundle {
            let names = &bundle.card.classes;
            if names.len() != classes {
                let found = format!("found {classes} logits and a card of {} classes", names.len());
                let path = self.path.display().to_string();
                return Err(SessionError::NotClassifier { path, found });
            }
            self.class_names = Some(names.clone());
            return Ok(());
        }
        self.precautions.push(Precaution::NoBundle);
        if let Some(text) = self.model.metadata().get("classes") {
            match serde_json::from_str::<Vec<String>>(text) {
                Ok(names) if names.len() == classes => self.class_names = Some(names),
                Ok(names) => self.precautions.push(Precaution::ClassNames(format!(
                    "it names {} classes, the model has {classes}",
                    names.len()
                ))),
                Err(_) => {
                    let reason = "it is not a JSON list of names".to_owned();
                    self.precautions.push(Precaution::ClassNames(reason));
                }
            }
        }
        Ok(())
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The library that the model runs on.
    pub fn library(&self) -> &'static Library {
        self.library
    }

    /// The digest of the ONNX file.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The graph.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The bundle, where the model is one.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_ref()
    }

    /// The shape of an image: channels, height, width.
    pub fn input(&self) -> [usize; 3] {
        self.signature.input
    }

    /// The name of the input.
    pub fn input_name(&self) -> &str {
        &self.signature.input_name
    }

    /// The name of the output.
    pub fn output_name(&self) -> &str {
        &self.signature.output_name
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.signature.classes
    }

    /// The number of images that the model insists on, if it does.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.signature.fixed_batch
    }

    /// The names of the classes, if they are known.
    pub fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// The name of a class, its number where it has none.
    pub fn class_name(&self, class: usize) -> String {
        let name = self.class_names.as_ref().and_then(|names| names.get(class));
        name.cloned().unwrap_or_else(|| class.to_string())
    }

    /// What a user of the model should know.
    pub fn precautions(&self) -> &[Precaution] {
        &self.precautions
    }

    /// A new session of the file.
    pub(super) fn session(&self) -> Result<Session, SessionError> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        spare.map_or_else(|| self.session_of(&self.bytes), Ok)
    }

    /// A new session of a graph made from the file.
    pub(super) fn session_of(&self, graph: &[u8]) -> Result<Session, SessionError> {
        build(self.library, graph).map_err(|source| {
            let path = self.path.display().to_string();
            SessionError::Load { path, source }
        })
    }
}

impl Signature {
    /// What the model takes and gives, by what it declares and by one run on blank images.
    fn of(session: &mut Session, path: &str) -> Result<Self, SessionError> {
        let (input_name, dims) = image_input(session.inputs(), path)?;
        let output_name = logits_output(session.outputs(), path)?;
        let fixed_batch = usize::try_from(dims[0]).ok().filter(|n| *n > 0);
        let input = [dims[1], dims[2], dims[3]].map(|d| d as usize);
        // More than one, so that a model that ignores the batch is found out.
        let batch = fixed_batch.unwrap_or(2);
        let [c, h, w] = input;
        let blank = Array4::<f32>::zeros((batch, c, h, w));
        let image = TensorRef::from_array_view(&blank).map_err(SessionError::Run)?;
        let outputs = session.run(vec![(input_name.as_str(), image)]).map_err(SessionError::Run)?;
        let shape = outputs
            .get(&output_name)
            .and_then(|value| value.dtype().tensor_shape().map(|shape| shape.to_vec()))
            .unwrap_or_default();
        let classes = match shape[..] {
            // Fully convolutional networks leave a position: N×K×1×1.
            [n, k] | [n, k, 1, 1] if n == batch as i64 && k > 1 => k as usize,
            _ => {
                let found =
                    format!("found output `{output_name}` of shape {shape:?} for {batch} images");
                return Err(SessionError::NotClassifier { path: path.to_owned(), found });
            }
        };
        Ok(Self { input_name, output_name, input, classes, fixed_batch })
    }
}

fn list(outlets: &[Outlet]) -> String {
    let show = |outlet: &Outlet| format!("`{}` {}", outlet.name(), outlet.dtype());
    outlets.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// The name and the dimensions of the one image input.
fn image_input(inputs: &[Outlet], path: &str) -> Result<(String, [i64; 4]), SessionError> {
    let found = |what: String| SessionError::NotClassifier { path: path.to_owned(), found: what };
    let unsupported = |what: String| SessionError::Unsupported { path: path.to_owned(), what };
    let [input] = inputs else {
        return Err(found(format!("found {} inputs: {}", inputs.len(), list(inputs))));
    };
    let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
        return Err(found(format!("found input {}", list(inputs))));
    };
    let Ok(dims) = <[i64; 4]>::try_from(shape.to_vec()) else {
        return Err(found(format!("found input {}", list(inputs))));
    };
    if *ty != TensorElementType::Float32 {
        return Err(unsupported(format!("input {}, expected float32 pixels", list(inputs))));
    }
    let is_channels = |d: i64| matches!(d, 1 | 3 | 4);
    if is_channels(dims[3]) && !is_channels(dims[1]) {
        let shown = list(inputs);
        return Err(unsupported(format!("input {shown} has its channels last, expected N×C×H×W")));
    }
    if dims[1..].iter().any(|d| *d < 1) {
        let shown = list(inputs);
        return Err(unsupported(format!("input {shown} has a free size, expected a fixed C×H×W")));
    }
    Ok((input.name().to_owned(), dims))
}

/// The name of the output that holds the logits: the only one, or the one called `logits`.
fn logits_output(outputs: &[Outlet], path: &str) -> Result<String, SessionError> {
    let found = |what: String| SessionError::NotClassifier { path: path.to_owned(), found: what };
    let named = outputs.iter().find(|output| output.name() == "logits");
    let output = match (outputs, named) {
        ([only], _) => only,
        (_, Some(named)) => named,
        _ => return Err(found(format!("found {} outputs: {}", outputs.len(), list(outputs)))),
    };
    match output.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. }
            if shape.len() == 2 || (shape.len() == 4 && shape[2..].iter().all(|d| *d <= 1)) =>
        {
            Ok(output.name().to_owned())
        }
        _ => Err(found(format!("found output {}", list(std::slice::from_ref(output))))),
    }
}
