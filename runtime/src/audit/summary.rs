//! What stands in the way of taking an audit's figures at face value.
//!
//! Every warning is `name: sentence`; the names are stable.

use rift_models::artifact::AuditReport;
use rift_models::dataset::{ClassesError, Dataset, Split};
use rift_models::threat::{AttackSpec, Epsilon, Norm};

use super::sanity::{Findings, Worth};
use super::{Measured, Plan};
use crate::attack::method::Method;
use crate::attack::oracle::is_distribution;
use crate::session::Classifier;

/// Above this share of images without a gradient, the attack was blind on too many.
const BLIND_SHARE: f64 = 0.05;
/// Above this share of all images, what random search breaks after the gradients have failed is too
/// much; AutoAttack's own bound.
const SQUARE_SHARE: f64 = 0.002;

/// The names of the warnings that follow from what a report counts.
const COUNTED: [&str; 3] = ["zero-gradients", "black-box-wins", "unreached"];

/// What the reader should know of model, threat model and data, and what the checks found.
pub fn warnings(
    classifier: &Classifier,
    data: &Dataset,
    plan: &Plan,
    measured: &Measured,
) -> Vec<String> {
    let of_model = classifier.precautions().iter().map(|precaution| format!("model: {precaution}"));
    let mut warnings: Vec<String> = of_model.collect();
    for eps in &plan.eps {
        warnings.extend(about_threat(plan, eps, data.input()));
    }
    let trained = classifier.bundle().and_then(|bundle| bundle.card.threat.as_ref());
    warnings.extend(trained.and_then(|trained| about_training(plan, trained)));
    warnings.extend(about_data(classifier, data));
    warnings.extend(about_logits(measured));
    warnings.extend(about_checks(&measured.findings, classifier.fixed_batch()));
    warnings
}

/// What follows from the counts of a report, whole or merged.
pub fn counted(report: &AuditReport) -> Vec<String> {
    let mut warnings = Vec::new();
    let attacked = report.attacks.first().map_or(0, |attack| attack.attacked);
    let blind = report.samples.iter().filter(|sample| sample.blind).count();
    if blind as f64 > BLIND_SHARE * attacked as f64 {
        warnings.push(format!(
            "zero-gradients: {blind} of {attacked} attacked images have a gradient of zero or one \
             that is not finite: gradients are probably masked, and what follows them gives too \
             high a robust accuracy"
        ));
    }
    let follows = report
        .attacks
        .windows(2)
        .filter(|pair| pair[1].name == "square" && pair[0].name != "square" && pair[1].broken > 1);
    for pair in follows {
        let attack = &pair[1];
        if attack.broken as f64 > SQUARE_SHARE * report.n as f64 {
            warnings.push(format!(
                "black-box-wins: random search broke {} images on which every attack by gradient \
                 had failed: gradients are probably masked",
                attack.broken
            ));
        }
    }
    let unreached: usize = report.attacks.iter().map(|attack| attack.unreached).sum();
    if unreached > 0 {
        let of: Vec<String> = report
            .attacks
            .iter()
            .filter(|attack| attack.unreached > 0)
            .map(|attack| format!("{} {} of {}", attack.name, attack.unreached, attack.attacked))
            .collect();
        warnings.push(format!(
            "unreached: the time was up before every image was attacked to the end ({}): the \
             robust accuracy is an upper bound",
            of.join(", ")
        ));
    }
    warnings
}

/// Whether a warning is one of [`counted`].
pub fn is_counted(warning: &str) -> bool {
    warning.split_once(':').is_some_and(|(name, _)| COUNTED.contains(&name))
}

/// What model and gradient were found to do; the model may insist on a number of images.
fn about_checks(findings: &Findings, fixed_batch: Option<usize>) -> Vec<String> {
    let mut warnings = Vec::new();
    let n = findings.n;
    if findings.random > 0 {
        warnings.push(format!(
            "random-outputs: {} of {n} images got other logits when asked again: the model draws \
             at random, a figure from one draw is no robust accuracy, and nothing can be repeated",
            findings.random
        ));
    }
    if findings.by_batch > 0 {
        let alone = match fixed_batch {
            Some(batch) => format!("one by one, each with {} blank ones", batch - 1),
            None => "one by one".to_owned(),
        };
        warnings.push(format!(
            "batch-dependence: {} of {n} images got other logits when the rest of the batch was \
             blank or not there: the answer depends on what else is in the batch; this audit asked \
             about images {alone}, and holds only for a server that does the same",
            findings.by_batch
        ));
    }
    if let Some(worth) = &findings.gradient {
        warnings.extend(about_gradient(worth));
        warnings.extend(about_answers(worth));
    }
    warnings
}

fn about_gradient(worth: &Worth) -> Vec<String> {
    let n = worth.n;
    let mut warnings = Vec::new();
    let mut warn = |holds: bool, text: String| {
        if holds {
            warnings.push(text);
        }
    };
    warn(
        worth.is_blind(),
        format!(
            "blind-gradients: {} of {n} checked images have a gradient of zero or one that is not \
             finite: gradients are masked",
            worth.blind
        ),
    );
    warn(
        worth.one_step_wins(),
        format!(
            "one-step-beats-many: one step broke {} of {n} checked images, many steps {}: the \
             gradient misleads",
            worth.one_step, worth.many_steps
        ),
    );
    warn(
        worth.is_stuck(),
        format!(
            "steps-do-not-help: {} of {n} checked images are no nearer to another class after many \
             steps along the gradient than before them: gradients are probably masked",
            worth.stuck
        ),
    );
    warn(
        worth.survives_anything(),
        format!(
            "survives-any-eps: {} of {n} checked images are still classified correctly at eps {}, \
             where any image can become any other: the attack fails, not the adversary",
            worth.far_left, worth.far
        ),
    );
    warn(
        worth.black_box_wins(),
        format!(
            "black-box-beats-gradient: a short random search broke {} of {n} checked images on \
             which the gradient found nothing: gradients are probably masked",
            worth.black_box
        ),
    );
    warnings
}

/// What the logits themselves hide.
fn about_answers(worth: &Worth) -> Vec<String> {
    let n = worth.n;
    let mut warnings = Vec::new();
    if worth.is_hard() {
        warnings.push(format!(
            "hard-outputs: on {} of {n} checked images the logits tell next to nothing but the \
             class: their gradient does not lead to the nearest other class, and what follows it \
             gives too high a robust accuracy",
            worth.hard
        ));
    }
    if 2 * worth.saturated > n {
        warnings.push(format!(
            "saturated-logits: on {} of {n} checked images the model is so sure that \
             cross-entropy has no gradient in float32; Rift follows the log-odds, which do, but \
             other tools will find the model more robust than it is",
            worth.saturated
        ));
    }
    warnings
}

/// Threat models that are probably a slip.
fn about_threat(plan: &Plan, text: &Epsilon, input: [usize; 3]) -> Vec<String> {
    let mut warnings = Vec::new();
    let (eps, norm) = (text.value(), plan.norm);
    let values: usize = input.iter().product();
    let (large, small) = match norm {
        Norm::Linf => (0.25, 0.5 / 255.0),
        Norm::L2 => (0.25 * (values as f32).sqrt(), 0.05),
    };
    if eps > large {
        warnings.push(format!(
            "large-eps: eps {text} is very large for norm {norm}: pixels lie in [0, 1], so 8 grey \
             levels are `8/255`"
        ));
    } else if eps > 0.0 && eps < small {
        warnings.push(format!(
            "small-eps: eps {text} is very small for norm {norm}: it is given in pixel units, \
             where pixels lie in [0, 1]"
        ));
    }
    for method in &plan.methods {
        if let Method::Pgd { step, steps, .. } = method
            && step.value() * (*steps as f32) < eps
        {
            warnings.push(format!(
                "short-steps: {steps} steps of {step} do not reach from an image to the edge of \
                 its ball of {text}: the attack is weaker than its eps"
            ));
        }
    }
    if plan.methods == [Method::Fgsm] {
        let text = "weak-attack: one step finds few adversarial images; the robust accuracy is far \
                    too high for a claim";
        warnings.push(text.to_owned());
    }
    warnings
}

/// An attack that is easier than what the network was trained for.
fn about_training(plan: &Plan, trained: &AttackSpec) -> Option<String> {
    let eps = plan.eps.last()?;
    let is_easier = plan.norm == trained.norm && eps.value() < trained.eps.value();
    is_easier.then(|| {
        format!(
            "easier-than-training: eps {eps} is less than the {} that the network was trained \
             against",
            trained.eps
        )
    })
}

/// Data that does not measure what it should.
fn about_data(classifier: &Classifier, data: &Dataset) -> Vec<String> {
    let mut warnings = Vec::new();
    if data.split == Split::Train {
        let text = "training-data: the images are from the training split, on which the model may be \
                    better";
        warnings.push(text.to_owned());
    }
    if let Some(names) = classifier.class_names() {
        match data.check_classes(names) {
            Ok(()) => {}
            Err(ClassesError::Name { class, expected, found }) => warnings.push(format!(
                "class-names: class {class} is `{expected}` to the model and `{found}` to the data: the labels \
                 may mean something else"
            )),
            Err(ClassesError::Count { expected, found }) => warnings.push(format!(
                "class-names: the model knows {expected} classes, the data has {found}"
            )),
        }
    }
    warnings
}

/// Outputs that are no logits.
fn about_logits(measured: &Measured) -> Vec<String> {
    let mut warnings = Vec::new();
    if measured.rows.is_empty() {
        return warnings;
    }
    let rows = || measured.logits.rows().into_iter();
    if rows().any(|row| row.iter().any(|logit| !logit.is_finite())) {
        warnings.push("not-finite: some images have logits that are not finite".to_owned());
    }
    if rows().all(|row| is_distribution(&row)) {
        let text = "probabilities: the model gives probabilities, not logits: where they saturate, they hide how \
                    close an image is to another class";
        warnings.push(text.to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use rift_models::artifact::SampleResult;

    use super::super::format::tests::report;
    use super::*;

    /// What checks of 24 images find in an honest model.
    fn honest() -> Worth {
        Worth {
            n: 24,
            blind: 0,
            one_step: 10,
            many_steps: 14,
            stuck: 2,
            far: "0.5".parse().unwrap(),
            far_left: 1,
            black_box: 0,
            saturated: 0,
            hard: 1,
        }
    }

    fn names(findings: &Findings) -> Vec<String> {
        let name = |warning: &String| warning.split(": ").next().unwrap_or_default().to_owned();
        about_checks(findings, None).iter().map(name).collect()
    }

    #[test]
    fn every_sign_of_masked_gradients_has_its_warning_and_its_bound() {
        let with = |worth: Worth| Findings { n: 24, gradient: Some(worth), ..Findings::default() };
        assert_eq!(names(&with(honest())), [""; 0]);
        for (name, below, above) in [
            ("blind-gradients", Worth { blind: 1, ..honest() }, Worth { blind: 2, ..honest() }),
            (
                "one-step-beats-many",
                Worth { one_step: 15, ..honest() },
                Worth { one_step: 16, ..honest() },
            ),
            ("steps-do-not-help", Worth { stuck: 7, ..honest() }, Worth { stuck: 8, ..honest() }),
            (
                "survives-any-eps",
                Worth { far_left: 2, ..honest() },
                Worth { far_left: 3, ..honest() },
            ),
            (
                "black-box-beats-gradient",
                Worth { black_box: 1, ..honest() },
                Worth { black_box: 2, ..honest() },
            ),
            ("hard-outputs", Worth { hard: 12, ..honest() }, Worth { hard: 13, ..honest() }),
            (
                "saturated-logits",
                Worth { saturated: 12, ..honest() },
                Worth { saturated: 13, ..honest() },
            ),
        ] {
            assert_eq!(names(&with(below)), [""; 0], "{name}");
            let above = with(above);
            assert_eq!(names(&above), [name]);
            // Saturation is found out and followed around; all else calls for random search.
            assert_eq!(above.needs_search(), name != "saturated-logits", "{name}");
        }
        let gradient = Some(honest());
        let random = Findings { n: 24, random: 1, by_batch: 0, gradient: gradient.clone() };
        assert_eq!((names(&random), random.needs_search()), (vec!["random-outputs".into()], true));
        let batch = Findings { n: 24, random: 0, by_batch: 1, gradient };
        assert_eq!((names(&batch), batch.needs_search()), (vec!["batch-dependence".into()], true));
        assert_eq!((random.batch(8), batch.batch(8)), (8, 1));
        let said = about_checks(&batch, Some(4));
        assert!(said[0].contains("one by one, each with 3 blank ones"), "{said:?}");
    }

    #[test]
    fn what_a_report_counts_is_warned_of_above_its_bound() {
        let names = |report: &AuditReport| -> Vec<String> {
            let name = |warning: &String| warning.split(": ").next().unwrap_or_default().to_owned();
            counted(report).iter().map(name).collect()
        };
        let honest = report();
        assert_eq!(names(&honest), [""; 0]);

        let mut blind = honest.clone();
        let sample = |index| SampleResult {
            index,
            label: 0,
            clean_prediction: 0,
            adversarial_prediction: 0,
            distance: 0.0,
            broken_by: None,
            broken_at: None,
            blind: index < 4,
            twin: None,
        };
        blind.samples = (0..80).map(sample).collect();
        assert_eq!(names(&blind), [""; 0]);
        blind.samples[4].blind = true;
        assert_eq!(names(&blind), ["zero-gradients"]);

        let mut searched = honest.clone();
        let mut square = honest.attacks[0].clone();
        (square.name, square.attacked, square.broken) = ("square".to_owned(), 40, 1);
        searched.attacks.push(square);
        assert_eq!(names(&searched), [""; 0]);
        searched.attacks[1].broken = 2;
        assert_eq!(names(&searched), ["black-box-wins"]);

        let mut late = honest;
        late.attacks[0].unreached = 1;
        assert_eq!(names(&late), ["unreached"]);
    }
}
