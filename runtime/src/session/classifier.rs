//! A model that has been found to be a classifier of images.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::session::Session;
use rift_models::artifact::{Bundle, Digest, Reading};
use rift_models::onnx::Model;

use super::file::ModelFile;
use super::intake::Intake;
use super::options::{build_plain, build_wide};
use super::signature::Signature;
use super::{BuildError, Element, Engine, Library, Role, SessionError, build, library};
use crate::autodiff::{AutodiffError, Interface, Layout};

/// A classifier as it is served: the bytes of one ONNX file, checked, and what is known of them.
#[derive(Debug)]
pub struct Classifier {
    path: PathBuf,
    library: &'static Library,
    bytes: Vec<u8>,
    digest: Digest,
    model: Model,
    bundle: Option<Bundle>,
    reading: Reading,
    engine: Engine,
    signature: Signature,
    class_names: Option<Vec<String>>,
    precautions: Vec<Precaution>,
    /// The session that the signature was found with, for the first who needs one.
    spare: Mutex<Option<Session>>,
}

/// What is said of a classifier when it is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opening {
    /// What the file does not say.
    pub reading: Reading,
    /// Whether that is said of this model alone.
    pub role: Role,
    /// Where its sessions compute.
    pub engine: Engine,
    /// Channels, height and width of the images to come, for what the file leaves free and the reading
    /// does not say.
    pub image: Option<[usize; 3]>,
    /// Whether the model is only to be looked at: no session is made fast for it.
    pub is_brief: bool,
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
    /// The model ends in a softmax.
    #[error(
        "the model ends in a softmax: attacks by gradient follow what stands before it, because \
         where a softmax saturates its gradient vanishes and the model only seems robust"
    )]
    Softmax,
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
        Self::open_with(path, &Opening::default())
    }

    /// As [`open`](Self::open), with what `opening` adds.
    ///
    /// # Errors
    /// As [`open`](Self::open), if the reading does not fit the model or the engine's provider cannot
    /// be had.
    pub fn open_with(path: &Path, opening: &Opening) -> Result<Self, SessionError> {
        Self::of_file(ModelFile::read(path)?, opening)
    }

    /// As [`open_with`](Self::open_with), of what was read before.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn of_file(file: ModelFile, opening: &Opening) -> Result<Self, SessionError> {
        Self::of(&file.path, (file.bytes, file.bundle), opening)
    }

    /// Opens the content of a bare `.onnx` file, on the disk or not yet; `path` names it in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, SessionError> {
        Self::of_file(ModelFile::bare(path, bytes), &Opening::default())
    }

    fn of(
        path: &Path,
        (bytes, bundle): (Vec<u8>, Option<Bundle>),
        opening: &Opening,
    ) -> Result<Self, SessionError> {
        let Opening { reading, engine, is_brief, .. } = opening.clone();
        let name = || path.display().to_string();
        let digest = Digest::of_bytes(&bytes);
        let model = Model::from_bytes(&bytes)
            .map_err(|source| SessionError::Onnx { path: name(), source })?;
        let library = library::load(None)?;
        let build = if is_brief { build_plain } else { build };
        let mut session = build(library, engine.judging(), &bytes)
            .map_err(|error| refused(error, (library, engine), path))?;
        let signature = Signature::of(&mut session, opening, &name())?;
        let mut classifier = Self {
            path: path.to_owned(),
            library,
            bytes,
            digest,
            model,
            bundle,
            reading,
            engine,
            signature,
            class_names: None,
            precautions: Vec::new(),
            spare: Mutex::new((!is_brief).then_some(session)),
        };
        classifier.name_classes()?;
        if classifier.interface().is_ok_and(|interface| interface.logits.before_softmax) {
            classifier.precautions.push(Precaution::Softmax);
        }
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

    /// Where its sessions compute.
    pub fn engine(&self) -> Engine {
        self.engine
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

    /// What the user said of the model.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// How pixels become what the model takes.
    pub(super) fn intake(&self) -> &Intake {
        &self.signature.intake
    }

    /// The shape of an image: channels, height, width.
    pub fn input(&self) -> [usize; 3] {
        self.intake().input
    }

    /// The shape of an image in the order of the model's dimensions.
    pub fn dims(&self) -> [usize; 3] {
        self.intake().dims()
    }

    /// The order of the dimensions of the model's input.
    pub fn layout(&self) -> Layout {
        self.intake().layout
    }

    /// How many steps lie between a black and a white pixel, where the model takes whole numbers.
    pub fn levels(&self) -> Option<f32> {
        self.intake().levels()
    }

    /// The numbers of the model's input.
    pub fn element(&self) -> Element {
        Element::of(self.intake().element)
    }

    /// Whether images may be of several sizes.
    pub fn is_free(&self) -> bool {
        self.signature.is_free
    }

    /// The name of the input.
    pub fn input_name(&self) -> &str {
        &self.intake().name
    }

    /// The name of the output.
    pub fn output_name(&self) -> &str {
        &self.signature.output_name
    }

    /// Image and logits as the gradient graphs know them.
    ///
    /// # Errors
    /// If the model declares them in a way that has no gradient.
    pub fn interface(&self) -> Result<Interface, AutodiffError> {
        Interface::at(&self.model, Some(self.output_name()))
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.signature.classes
    }

    /// The number of images that the model insists on, if it does.
    pub fn fixed_batch(&self) -> Option<usize> {
        self.intake().batch
    }

    /// The images that go through the model at once where `wanted` would be liked.
    pub fn batch(&self, wanted: usize) -> usize {
        self.fixed_batch().unwrap_or(wanted.max(1))
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
        spare.map_or_else(|| self.built(self.engine.judging(), &self.bytes), Ok)
    }

    /// A new session of the file over several threads.
    pub(super) fn wide_session(&self, threads: usize) -> Result<Session, SessionError> {
        let engine = self.engine.judging();
        build_wide(self.library, engine, threads, &self.bytes)
            .map_err(|error| refused(error, (self.library, engine), &self.path))
    }

    /// A new session of a graph made from the file, to steer by.
    pub(super) fn session_of(&self, graph: &[u8]) -> Result<Session, SessionError> {
        self.built(self.engine, graph)
    }

    fn built(&self, engine: Engine, graph: &[u8]) -> Result<Session, SessionError> {
        build(self.library, engine, graph)
            .map_err(|error| refused(error, (self.library, engine), &self.path))
    }
}

fn refused(error: BuildError, (library, engine): (&Library, Engine), path: &Path) -> SessionError {
    match error {
        BuildError::Provider(source) => SessionError::Provider {
            provider: engine.provider(),
            library: library.path().display().to_string(),
            source,
        },
        BuildError::Model(source) => {
            SessionError::Load { path: path.display().to_string(), source }
        }
    }
}
