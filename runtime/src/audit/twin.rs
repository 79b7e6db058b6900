//! The model that the gradients came from, judged by the same images.

use ndarray::{Array4, ArrayView3, Axis};
use rift_models::artifact::{Accuracy, AuditReport, TwinResult};
use rift_models::dataset::Dataset;

use super::{AuditError, Measured};
use crate::attack::oracle::prediction;
use crate::session::{Classifier, Pool, SessionError, SessionOptions};

/// Images that are held in memory at once, beside the data.
const AT_ONCE: usize = 256;

/// Checks that `twin` can lend its gradients to `served`.
///
/// # Errors
/// If it knows other classes or takes images of another shape, or something is said of how floats are
/// normalised where neither takes any.
pub fn check_twin(served: &Classifier, twin: &Classifier) -> Result<(), AuditError> {
    let takes_bytes = |classifier: &Classifier| classifier.levels().is_some();
    if takes_bytes(served) && takes_bytes(twin) && served.reading().normalises() {
        let what = "scale, mean and std say nothing to models that both take bytes".to_owned();
        return Err(SessionError::Reading { what }.into());
    }
    let facts = |classifier: &Classifier| (classifier.input(), classifier.classes());
    let (expected, found) = (facts(served), facts(twin));
    if expected == found {
        return Ok(());
    }
    let say =
        |([c, h, w], classes): ([usize; 3], usize)| format!("{c}x{h}x{w} to {classes} classes");
    Err(AuditError::Twin { expected: say(expected), found: say(found) })
}

/// Adds to the report what `twin` makes of every image, as it is and as the attacks left it.
///
/// # Errors
/// If the twin fails.
pub fn judge_twin(
    twin: &Classifier,
    options: &SessionOptions,
    data: &Dataset,
    measured: &Measured,
    report: &mut AuditReport,
) -> Result<(), AuditError> {
    let mut pool = Pool::new(twin, options, measured.rows.len())?;
    let mut fates = measured.fates.iter().peekable();
    let mut samples = report.samples.iter_mut();
    let (mut clean, mut adversarial) = (0, 0);
    let mut first = measured.rows.start;
    while first < measured.rows.end {
        let rows = first..measured.rows.end.min(first + AT_ONCE);
        let images = data.batch(rows.clone());
        let mut attacked = images.clone();
        while let Some(fate) = fates.next_if(|fate| fate.outcome.index < rows.end) {
            put(&fate.outcome.image, &mut attacked, fate.outcome.index - rows.start);
        }
        let [images, attacked] = [pool.logits(&images.view())?, pool.logits(&attacked.view())?];
        for (images, attacked) in images.rows().into_iter().zip(attacked.rows()) {
            let Some(sample) = samples.next() else { break };
            let of_twin = [prediction(&images), prediction(&attacked)];
            clean += usize::from(of_twin[0] == sample.label);
            adversarial += usize::from(of_twin[1] == sample.label);
            sample.twin = Some(of_twin);
        }
        first = rows.end;
    }
    let n = measured.rows.len();
    report.twin = Some(TwinResult {
        path: twin.path().display().to_string(),
        digest: twin.digest().clone(),
        clean: Accuracy::new(clean, n),
        adversarial: Accuracy::new(adversarial, n),
    });
    Ok(())
}

/// Puts an adversarial image in the place of the image as it is.
fn put(image: &[f32], images: &mut Array4<f32>, row: usize) {
    let mut place = images.index_axis_mut(Axis(0), row);
    if let Ok(image) = ArrayView3::from_shape(place.raw_dim(), image) {
        place.assign(&image);
    }
}
