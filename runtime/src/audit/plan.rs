//! What an audit does, checked before it starts.

use rift_models::dataset::Dataset;
use rift_models::threat::{AttackError, AttackSpec};

use crate::attack::oracle::OracleError;
use crate::session::{Classifier, SessionError};

/// An audit to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The attack.
    pub attack: AttackSpec,
    /// Images that each worker carries at once.
    pub batch: usize,
    /// Whether the adversarial images are kept.
    pub keep_images: bool,
}

/// An audit that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The attack makes no sense.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// The model cannot be opened or run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The images do not fit the model.
    #[error(
        "the model takes images of {expected:?} (channels, height, width), the data has {found:?}"
    )]
    Input {
        /// What the model takes.
        expected: [usize; 3],
        /// What the data has.
        found: [usize; 3],
    },
    /// The data has classes that the model does not know.
    #[error("the model knows {classes} classes, image {index} of the data has label {label}")]
    Label {
        /// The model's classes.
        classes: usize,
        /// The image.
        index: usize,
        /// Its label.
        label: usize,
    },
    /// The model fails.
    #[error("the model fails during the audit")]
    Oracle(#[source] OracleError),
}

/// Checks that the model can be asked about the data.
///
/// # Errors
/// If the images have another shape or a label is beyond the model's classes.
pub fn check_data(classifier: &Classifier, data: &Dataset) -> Result<(), AuditError> {
    let (expected, found) = (classifier.input(), data.input());
    if expected != found {
        return Err(AuditError::Input { expected, found });
    }
    let classes = classifier.classes();
    match data.labels.iter().enumerate().find(|(_, label)| **label >= classes) {
        Some((index, label)) => Err(AuditError::Label { classes, index, label: *label }),
        None => Ok(()),
    }
}
