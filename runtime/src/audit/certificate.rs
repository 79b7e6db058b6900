//! What the votes of noisy copies prove, as the report has it.

use rift_models::artifact::{Accuracy, AuditReport, Certificate, CertifiedPoint, CertifiedSample};
use rift_models::dataset::Dataset;
use rift_models::threat::{Epsilon, Norm};

use super::{Measured, Plan};

/// What every certificate says of itself.
const ABOUT: &str = "the certified accuracies are lower bounds for the smoothed classifier, the majority \
                     of the model's answers to noisy copies of an image; the attacks' figures are upper \
                     bounds for the model itself, another classifier: neither bounds the other";

/// Made of the votes; the curve is over multiples of half the noise, and the audit's own radii where
/// they are of the same norm.
pub(super) fn certificate(data: &Dataset, plan: &Plan, measured: &Measured) -> Option<Certificate> {
    let (smoothing, ballot) = (plan.smoothing.as_ref()?, measured.ballot.as_ref()?);
    let samples: Vec<CertifiedSample> = ballot
        .votes
        .iter()
        .map(|vote| {
            let radius = smoothing.radius(vote);
            CertifiedSample {
                index: vote.index,
                prediction: radius.map(|_| vote.class),
                radius: radius.unwrap_or(0.0),
            }
        })
        .collect();
    let own: &[Epsilon] = if plan.norm == Norm::L2 { &plan.eps } else { &[] };
    let mut radii: Vec<(f64, Option<Epsilon>)> =
        own.iter().map(|eps| (f64::from(eps.value()), Some(eps.clone()))).collect();
    let largest = smoothing.largest_radius().unwrap_or(0.0);
    let steps = (0..).map(|step| f64::from(step) * smoothing.sigma / 2.0);
    let steps = steps.take_while(|radius| *radius <= largest);
    let is_new = |radius: &f64| radii.iter().all(|(other, _)| (other - radius).abs() > 1e-6);
    let steps: Vec<_> = steps.filter(is_new).map(|radius| (radius, None)).collect();
    radii.extend(steps);
    radii.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let point = |(radius, eps): (f64, Option<Epsilon>)| {
        let attacked = eps.as_ref().and_then(|eps| {
            let last = measured.stages.iter().rev().find(|stage| stage.eps == *eps);
            last.map(|stage| stage.robust)
        });
        let certified = certified(&samples, measured.rows.len(), radius, |s| data.labels[s.index]);
        CertifiedPoint { radius, eps, certified, attacked }
    };
    Some(Certificate {
        method: "randomized-smoothing".to_owned(),
        about: ABOUT.to_owned(),
        sigma: smoothing.sigma,
        selection: smoothing.selection,
        estimation: smoothing.estimation,
        alpha: smoothing.alpha,
        abstained: samples.iter().filter(|sample| sample.prediction.is_none()).count(),
        unreached: measured.rows.len() - samples.len(),
        curve: radii.into_iter().map(point).collect(),
        seconds: Some(ballot.seconds),
        forwards: samples.len() * (smoothing.selection + smoothing.estimation),
        samples,
    })
}

/// Images of the right class with at least this radius, among `n`.
fn certified(
    samples: &[CertifiedSample],
    n: usize,
    radius: f64,
    label: impl Fn(&CertifiedSample) -> usize,
) -> Accuracy {
    let holds = |sample: &&CertifiedSample| {
        sample.prediction == Some(label(sample)) && sample.radius >= radius
    };
    Accuracy::new(samples.iter().filter(holds).count(), n)
}

/// Adds another part's images to those of `whole`.
pub(super) fn join(whole: &mut Option<Certificate>, part: Option<Certificate>) {
    if let (Some(whole), Some(part)) = (whole, part) {
        whole.seconds = whole.seconds.zip(part.seconds).map(|(a, b)| a + b);
        whole.samples.extend(part.samples);
    }
}

/// Counts all of a report's certificate anew, from its images and its attacks.
pub(super) fn recount(report: &mut AuditReport) {
    let Some(mut certificate) = report.certified.take() else { return };
    let labels: std::collections::BTreeMap<usize, usize> =
        report.samples.iter().map(|sample| (sample.index, sample.label)).collect();
    let label = |sample: &CertifiedSample| labels.get(&sample.index).copied().unwrap_or(usize::MAX);
    let samples = &certificate.samples;
    certificate.abstained = samples.iter().filter(|sample| sample.prediction.is_none()).count();
    certificate.unreached = report.n.saturating_sub(samples.len());
    certificate.forwards = samples.len() * (certificate.selection + certificate.estimation);
    for point in &mut certificate.curve {
        point.certified = certified(&certificate.samples, report.n, point.radius, label);
        if let (Some(eps), Some(_)) = (&point.eps, point.attacked) {
            let of_eps = |attack: &&rift_models::artifact::AttackResult| {
                attack.eps.as_ref().unwrap_or(&report.threat.eps) == eps
            };
            point.attacked = report.attacks.iter().rev().find(of_eps).map(|attack| attack.robust);
        }
    }
    report.certified = Some(certificate);
}
