//! What stands in the way of a quantised model.

use rift_models::artifact::atomic::AtomicError;
use rift_models::artifact::{BundleError, ProbeError, Quantization};
use rift_models::dataset::DatasetError;
use rift_models::onnx::{AttributeError, GraphError, OnnxError, TensorError};
use rift_models::threat::AttackError;
use rift_runtime::attack::gradient::GradientError;
use rift_runtime::session::SessionError;

use crate::bundle::OptimizeError;
use crate::verify::parity::ShapeMismatch;
use crate::verify::robustness::TrialError;

/// A quantised model that was not written; nothing was.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The model cannot be opened or run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A model by itself has no probe and no threat model.
    #[error("`{path}` is not a bundle: expected a folder that `rift-exporter export` wrote")]
    NotBundle {
        /// The model.
        path: String,
    },
    /// The bundle's files cannot be read.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The probe cannot be used.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The images cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The model is on integers already.
    #[error("`{path}` is quantised already: it has the operator `{op}`, expected a float32 model")]
    AlreadyQuantized {
        /// The model.
        path: String,
        /// The operator, or the format of the weights.
        op: String,
    },
    /// There is nothing that could become integers.
    #[error("`{path}` has no convolution or linear layer with float32 weights in the file")]
    NoLayers {
        /// The model.
        path: String,
    },
    /// A layer that is to be kept in float is not there.
    #[error("the model has no layer `{name}`, expected one of {known}")]
    UnknownLayer {
        /// The name as given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// No layer is left.
    #[error("every layer is kept in float: nothing is left to quantise")]
    AllFloat,
    /// There are not enough images.
    #[error(
        "found {found} {split} images in `{path}`, expected {expected} for `{flag}`; ask for fewer \
         or name more data"
    )]
    FewImages {
        /// The data.
        path: String,
        /// The split that was read.
        split: String,
        /// The flag that asks for so many.
        flag: &'static str,
        /// Images that are needed.
        expected: usize,
        /// Images that there are.
        found: usize,
    },
    /// The images are of another shape.
    #[error(
        "the images of `{path}` are of {found:?} (channels, height, width), the model takes \
         {expected:?}"
    )]
    Input {
        /// The data.
        path: String,
        /// What the model takes.
        expected: [usize; 3],
        /// What the data has.
        found: [usize; 3],
    },
    /// The data has classes that the model does not know.
    #[error("the model knows {expected} classes, `{path}` has {found}")]
    Classes {
        /// The data.
        path: String,
        /// The model's classes.
        expected: usize,
        /// The data's.
        found: usize,
    },
    /// The attack makes no sense.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// The model has no gradient.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// The model cannot be tried.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// A value is infinite or not a number.
    #[error("the model's value `{value}` is not finite on a calibration image")]
    NotFinite {
        /// The value.
        value: String,
    },
    /// A value was not calibrated.
    #[error("the model's value `{value}` has no range")]
    NoRange {
        /// The value.
        value: String,
    },
    /// The model's operators are too old.
    #[error(
        "the model is of operator set {found}, expected {expected} or newer for integers; \
         `onnx.version_converter` of the Python package `onnx` raises it"
    )]
    Opset {
        /// The first that will do.
        expected: i64,
        /// The model's.
        found: i64,
    },
    /// Whole batches are needed.
    #[error(
        "the model takes batches of {expected} images and no others, found {found} for \
         `--calibration-images`"
    )]
    Batch {
        /// The size of a batch.
        expected: usize,
        /// Images that there are.
        found: usize,
    },
    /// A bias is no row.
    #[error("the bias of `{layer}` is of shape {found:?}, expected one number an output")]
    Bias {
        /// The layer.
        layer: String,
        /// The bias's shape.
        found: Vec<usize>,
    },
    /// A weight is too large for half precision.
    #[error("`{layer}` has a weight beyond 65504, the largest number in half precision")]
    Half {
        /// The layer.
        layer: String,
    },
    /// The model's graph cannot be read.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor cannot be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A node's settings cannot be read.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// What was written is no model.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The model gives something else than logits.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
    /// What the model says of itself has no JSON.
    #[error("the model's metadata cannot be written as JSON")]
    Metadata(#[from] serde_json::Error),
    /// The answer is no: too much is lost.
    #[error(
        "nothing written: clean accuracy falls by {:.2} points and robust accuracy by {:.2} on {} \
         {} images, accepted is {} (`--max-drop`); `--keep-float auto` or another `--calibration` \
         may lose less",
        .0.clean.drop(), .0.robust.drop(), .0.clean.float.n, .0.split, .0.max_drop
    )]
    Drop(Box<Quantization>),
    /// The model cannot be optimised.
    #[error(transparent)]
    Optimize(#[from] OptimizeError),
    /// The bundle cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}
