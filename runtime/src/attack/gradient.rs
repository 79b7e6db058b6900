//! The gradient graph of a classifier, made from the very file that is served.

use rift_models::onnx::Model;

use crate::autodiff::{self, AutodiffError, Head};
use crate::session::Classifier;
use crate::session::trace::{Trace, TraceError};

/// A classifier that cannot be differentiated.
#[derive(Debug, thiserror::Error)]
pub enum GradientError {
    /// Its shapes cannot be measured.
    #[error("the shapes inside the model cannot be measured")]
    Trace(#[from] TraceError),
    /// An operator has no gradient.
    #[error("the model cannot be differentiated")]
    Autodiff(#[from] AutodiffError),
}

/// Says whether the classifier can be differentiated.
///
/// # Errors
/// As [`loss_gradient`], which does more.
pub fn support(classifier: &Classifier) -> Result<(), GradientError> {
    let trace = Trace::measure(classifier.library().environment(), classifier.model())?;
    Ok(autodiff::support(classifier.model(), &trace)?)
}

/// The classifier with the cross-entropy of `labels` and its gradient by the image.
///
/// # Errors
/// If an operator between image and logits has no rule; all of them are named.
pub fn loss_gradient(classifier: &Classifier) -> Result<Model, GradientError> {
    let trace = Trace::measure(classifier.library().environment(), classifier.model())?;
    Ok(autodiff::loss_gradient(classifier.model(), &trace, Head::CrossEntropy)?)
}

/// The classifier with the product of `cotangent` and its Jacobian.
///
/// # Errors
/// As [`loss_gradient`].
pub fn vector_jacobian(classifier: &Classifier) -> Result<Model, GradientError> {
    let trace = Trace::measure(classifier.library().environment(), classifier.model())?;
    Ok(autodiff::vector_jacobian(classifier.model(), &trace)?)
}
