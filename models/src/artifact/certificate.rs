//! What is proven of a classifier's smoothed form.

use serde::{Deserialize, Serialize};

use super::Accuracy;
use crate::threat::Epsilon;

/// What randomised smoothing proves (Cohen et al. 2019, arXiv 1902.02918).
///
/// It is about the smoothed classifier, which gives an image the class that the model gives most of
/// its noisy copies. That is another classifier than the model: what attacks on the model find is no
/// bound for it, and what is proven of it none for the model.
///
/// # Units
/// `sigma` and every radius are L2 lengths in pixel units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// `randomized-smoothing`.
    pub method: String,
    /// What the figures are about, in a sentence.
    pub about: String,
    /// The noise's standard deviation.
    pub sigma: f64,
    /// Noisy copies that choose the class.
    pub selection: usize,
    /// Other noisy copies that say how often it is given.
    pub estimation: usize,
    /// The probability that the certificate of one image is wrong.
    pub alpha: f64,
    /// Images on which the smoothed classifier gives no answer at this confidence.
    pub abstained: usize,
    /// Images that the time did not suffice for; they count as not certified.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreached: usize,
    /// The certified accuracy at each radius, rising.
    pub curve: Vec<CertifiedPoint>,
    /// Every image, in the order of the data.
    pub samples: Vec<CertifiedSample>,
    /// Wall-clock seconds, where times are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Forward passes, counted by noisy copy.
    pub forwards: usize,
}

/// The certified accuracy at one radius, with what is known of it from above.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedPoint {
    /// The radius.
    pub radius: f64,
    /// The same as it was written, where it is one of the audit's radii.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<Epsilon>,
    /// Images whose class the smoothed classifier gives, provably within the whole radius: a lower
    /// bound of its robust accuracy.
    pub certified: Accuracy,
    /// The model's own accuracy under the audit's attacks within this radius, where it is one of the
    /// audit's radii in L2: an upper bound of the model's robust accuracy, not of the smoothed
    /// classifier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attacked: Option<Accuracy>,
}

/// What is proven of one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertifiedSample {
    /// Its index in the data set's split.
    pub index: usize,
    /// The class that the smoothed classifier gives it; none where it abstains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<usize>,
    /// The radius within which it provably gives that class; 0 where it abstains.
    pub radius: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
