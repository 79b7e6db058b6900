//! What stands in the way of taking an audit's figures at face value.

use rift_models::dataset::{Dataset, Split};
use rift_models::threat::{AttackSpec, Norm};

use super::{Measured, Plan};
use crate::attack::oracle::is_distribution;
use crate::session::Classifier;

/// Above this share of images without a gradient, the attack was blind on too many.
const BLIND_SHARE: f64 = 0.05;

/// Everything that the reader of the figures should know, in plain sentences.
pub fn warnings(
    classifier: &Classifier,
    data: &Dataset,
    plan: &Plan,
    measured: &Measured,
) -> Vec<String> {
    let mut warnings: Vec<String> =
        classifier.precautions().iter().map(ToString::to_string).collect();
    warnings.extend(about_threat(&plan.attack, data.input()));
    let trained = classifier.bundle().and_then(|bundle| bundle.card.threat.as_ref());
    warnings.extend(trained.and_then(|trained| about_training(&plan.attack, trained)));
    warnings.extend(about_data(classifier, data));
    warnings.extend(about_logits(measured));
    warnings.extend(about_gradients(measured));
    warnings
}

/// Threat models that are probably a slip.
fn about_threat(attack: &AttackSpec, input: [usize; 3]) -> Vec<String> {
    let mut warnings = Vec::new();
    let (eps, step) = (attack.eps.value(), attack.step.value());
    let values: usize = input.iter().product();
    let (large, small) = match attack.norm {
        Norm::Linf => (0.25, 0.5 / 255.0),
        Norm::L2 => (0.25 * (values as f32).sqrt(), 0.05),
    };
    let (norm, text) = (attack.norm, &attack.eps);
    if eps > large {
        warnings.push(format!(
            "eps {text} is very large for norm {norm}: pixels lie in [0, 1], so 8 grey levels are \
             `8/255`"
        ));
    } else if eps > 0.0 && eps < small {
        warnings.push(format!(
            "eps {text} is very small for norm {norm}: it is given in pixel units, where pixels \
             lie in [0, 1]"
        ));
    }
    if step * (attack.steps as f32) < eps {
        warnings.push(format!(
            "{} steps of {} do not reach from an image to the edge of its ball of {text}: the \
             attack is weaker than its eps",
            attack.steps, attack.step
        ));
    }
    warnings
}

/// An attack that is easier than what the network was trained for.
fn about_training(attack: &AttackSpec, trained: &AttackSpec) -> Option<String> {
    let is_easier = attack.norm == trained.norm && attack.eps.value() < trained.eps.value();
    is_easier.then(|| {
        format!(
            "eps {} is less than the {} that the network was trained against",
            attack.eps, trained.eps
        )
    })
}

/// Data that does not measure what it should.
fn about_data(classifier: &Classifier, data: &Dataset) -> Vec<String> {
    let mut warnings = Vec::new();
    if data.split == Split::Train {
        let text = "the images are from the training split, on which the model may be better";
        warnings.push(text.to_owned());
    }
    if let Some(names) = classifier.class_names() {
        let other = names.iter().zip(&data.classes).position(|(model, data)| model != data);
        if let Some(class) = other {
            warnings.push(format!(
                "class {class} is `{}` to the model and `{}` to the data: the labels may mean \
                 something else",
                names[class], data.classes[class]
            ));
        } else if names.len() != data.classes.len() {
            warnings.push(format!(
                "the model knows {} classes, the data has {}",
                names.len(),
                data.classes.len()
            ));
        }
    }
    warnings
}

/// Outputs that are no logits.
fn about_logits(measured: &Measured) -> Vec<String> {
    let mut warnings = Vec::new();
    let rows = || measured.logits.rows().into_iter();
    let strange = rows().filter(|row| row.iter().any(|logit| !logit.is_finite())).count();
    if strange > 0 {
        warnings.push(format!("{strange} images have logits that are not finite"));
    }
    if rows().all(|row| is_distribution(&row)) {
        let text = "the model gives probabilities, not logits: where they saturate, they hide how \
                    close an image is to another class";
        warnings.push(text.to_owned());
    }
    warnings
}

/// Gradients that tell an attack nothing.
fn about_gradients(measured: &Measured) -> Vec<String> {
    let walked = measured.outcomes.iter().filter(|outcome| outcome.gradients > 0);
    let attacked = walked.clone().count();
    let blind = walked.filter(|outcome| outcome.blind).count();
    if blind as f64 > BLIND_SHARE * attacked as f64 {
        vec![format!(
            "{blind} of {attacked} attacked images have a gradient of zero: gradients are probably \
             masked, and the robust accuracy is too high"
        )]
    } else {
        Vec::new()
    }
}
