//! Audits of small models on synthetic images.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Axis;
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::onnx::Model;
use rift_models::threat::{AttackSpec, Epsilon, Norm};

use super::{AuditError, Measured, Plan, Progress, Stage, check_data, measure, report, warnings};
use crate::attack::gradient;
use crate::attack::oracle::prediction;
use crate::session::{Classifier, Pool, SessionOptions};
use crate::small_models::{INPUT, bundle, conv_net, linear_net, positions_net, saturated_net};

/// A radius in which some images break and some do not.
const LINF: &str = "12/255";

fn classifier(model: &Model) -> (tempfile::TempDir, Classifier) {
    let folder = tempfile::tempdir().unwrap();
    let classifier = Classifier::open(&bundle(folder.path(), model)).unwrap();
    (folder, classifier)
}

/// Images with the labels that the model gives them, but for every seventh.
fn data(classifier: &Classifier, n: usize) -> Dataset {
    let request = Request::new(Split::Test).limit(n);
    let mut data = Dataset::open(Path::new("synthetic:4x3x8x8"), &request).unwrap();
    let mut pool = Pool::new(classifier, &SessionOptions::default(), n).unwrap();
    let logits = pool.logits(&data.batch(0..n).view()).unwrap();
    for (index, (label, row)) in data.labels.iter_mut().zip(logits.rows()).enumerate() {
        *label = (prediction(&row) + usize::from(index % 7 == 0)) % 4;
    }
    data
}

fn plan(norm: Norm, eps: &str, restarts: usize) -> Plan {
    let eps: Epsilon = eps.parse().unwrap();
    let step: Epsilon = (eps.value() / 3.0).to_string().parse().unwrap();
    let attack = AttackSpec { norm, eps, step, steps: 6, restarts, ..AttackSpec::paper() };
    Plan { attack, batch: 16, keep_images: true }
}

fn audit(classifier: &Classifier, data: &Dataset, plan: &Plan, threads: usize) -> Measured {
    let graph = gradient::loss_gradient(classifier).unwrap().to_bytes();
    let options = SessionOptions { threads, batch: plan.batch };
    let pool = Pool::new(classifier, &options, data.len()).unwrap();
    let mut pool = pool.with_gradient(classifier, &graph).unwrap();
    measure(pool.workers(), data, plan, &|_| ()).unwrap()
}

#[test]
fn no_result_depends_on_batch_or_threads() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let data = data(&classifier, 60);
    for (norm, eps) in [(Norm::Linf, LINF), (Norm::L2, "0.4")] {
        let plan = plan(norm, eps, 2);
        let first = audit(&classifier, &data, &plan, 1);
        let (clean, robust) = (first.clean.correct, first.robust.correct);
        assert!(0 < robust && robust < clean && clean < 60, "{norm}: {clean} {robust}");
        for (threads, batch) in [(2, 16), (1, 1), (3, 7), (2, 64)] {
            let other = audit(&classifier, &data, &Plan { batch, ..plan.clone() }, threads);
            assert_eq!(first.logits, other.logits);
            assert_eq!(first.outcomes, other.outcomes, "{threads} threads, batches of {batch}");
        }
    }
}

#[test]
fn a_sample_does_not_know_how_many_there_are() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let many = data(&classifier, 40);
    let few = data(&classifier, 11);
    let plan = plan(Norm::Linf, LINF, 1);
    let (many, few) = (audit(&classifier, &many, &plan, 2), audit(&classifier, &few, &plan, 1));
    assert_eq!(many.outcomes[..few.outcomes.len()], few.outcomes[..]);
}

#[test]
fn the_report_agrees_with_the_adversarial_images() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let data = data(&classifier, 50);
    let plan = plan(Norm::Linf, LINF, 1);
    let measured = audit(&classifier, &data, &plan, 2);
    let mut images = data.batch(0..50);
    let [c, h, w] = INPUT;
    for outcome in &measured.outcomes {
        let image = ndarray::ArrayView3::from_shape((c, h, w), &outcome.image).unwrap();
        images.index_axis_mut(Axis(0), outcome.index).assign(&image);
    }
    let far = (&images - &data.batch(0..50)).fold(0.0_f32, |far, d| far.max(d.abs()));
    assert!(far > 0.0 && far <= plan.attack.eps.value() + 1e-6, "{far}");
    assert!(images.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    let mut pool = Pool::new(&classifier, &SessionOptions::default(), 50).unwrap();
    let logits = pool.logits(&images.view()).unwrap();
    let report = report::report(&classifier, &data, &plan, &measured);
    let mut right = 0;
    for (sample, row) in report.samples.iter().zip(logits.rows()) {
        assert_eq!(sample.label, data.labels[sample.index]);
        let adversarial = prediction(&row);
        assert_eq!(sample.adversarial_prediction, adversarial);
        assert_eq!(sample.broken_by.is_none(), adversarial == sample.label);
        assert_eq!(sample.broken_by.as_deref() == Some("clean"), sample.index % 7 == 0);
        right += usize::from(adversarial == sample.label);
    }
    assert_eq!(report.robust_accuracy, right as f64 / 50.0);
    assert_eq!(report.clean_accuracy, 42.0 / 50.0);
    assert_eq!(report.model.checkpoint, Some(classifier.bundle().unwrap().card.checkpoint.clone()));
    let text = report::table(&report, "synthetic");
    assert!(text.contains("clean     84.00 %") && text.contains("pgd-6 linf 12/255"), "{text}");
}

#[test]
fn the_gradient_is_that_of_the_served_model() {
    let (_folder, classifier) = classifier(&linear_net());
    let graph = gradient::loss_gradient(&classifier).unwrap().to_bytes();
    let options = SessionOptions { threads: 1, batch: 4 };
    let pool = Pool::new(&classifier, &options, 4).unwrap();
    let mut pool = pool.with_gradient(&classifier, &graph).unwrap();
    let images = crate::small_models::images(6);
    let labels = [0, 1, 2, 3, 0, 1];
    let worker = &mut pool.workers()[0];
    let answer = worker.loss_gradient(&images.view(), &labels).unwrap();
    let logits = worker.logits(&images.view()).unwrap();
    let loss = |row: ndarray::ArrayView1<f32>, label: usize| {
        let total: f64 = row.iter().map(|l| f64::from(*l).exp()).sum();
        total.ln() - f64::from(row[label])
    };
    assert!((&logits - &answer.logits).iter().all(|d| d.abs() < 1e-5));
    let step = 1e-2;
    for (image, pixel) in [(0, [0, 1, 2]), (3, [2, 7, 7]), (5, [1, 0, 4])] {
        let [c, h, w] = pixel;
        let mut both = [1.0, -1.0].map(|way| {
            let mut moved = images.clone();
            moved[[image, c, h, w]] += way * step;
            loss(worker.logits(&moved.view()).unwrap().row(image), labels[image])
        });
        both[0] -= both[1];
        let expected = both[0] / (2.0 * f64::from(step));
        let found = f64::from(answer.gradient[[image, c, h, w]]);
        assert!((expected - found).abs() < 1e-3 * (1.0 + expected.abs()), "{expected} {found}");
    }
}

#[test]
fn logits_at_one_position_can_be_attacked() {
    let (_folder, classifier) = classifier(&positions_net());
    let data = data(&classifier, 30);
    let measured = audit(&classifier, &data, &plan(Norm::Linf, LINF, 1), 2);
    assert!(measured.robust.correct < measured.clean.correct);
}

#[test]
fn warns_of_what_makes_figures_worthless() {
    let (_folder, classifier) = classifier(&conv_net(Some("Softmax")));
    let mut data = data(&classifier, 20);
    let measured = audit(&classifier, &data, &plan(Norm::Linf, LINF, 1), 1);
    let blind = Measured {
        outcomes: measured.outcomes.iter().cloned().map(blinded).collect(),
        ..measured.clone()
    };
    data.split = Split::Train;
    let careless = plan(Norm::Linf, "0.5", 1);
    let found = warnings(&classifier, &data, &careless, &blind).join("\n");
    for part in [
        "gives probabilities",
        "a gradient of zero",
        "very large",
        "training split",
        "class 0 is `cat` to the model",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let mut weak = plan(Norm::Linf, "8/255", 1);
    weak.attack.steps = 2;
    let found = warnings(&classifier, &data, &weak, &measured).join("\n");
    assert!(found.contains("do not reach"), "{found}");
    assert!(!found.contains("gradient of zero"), "{found}");
}

#[test]
fn masked_gradients_are_noticed() {
    let (_folder, classifier) = classifier(&saturated_net());
    let data = data(&classifier, 30);
    let plan = plan(Norm::Linf, "1/255", 1);
    let measured = audit(&classifier, &data, &plan, 1);
    let found = warnings(&classifier, &data, &plan, &measured).join("\n");
    assert!(found.contains("a gradient of zero"), "{found}");
}

fn blinded(outcome: crate::attack::pgd::Outcome) -> crate::attack::pgd::Outcome {
    crate::attack::pgd::Outcome { blind: true, ..outcome }
}

#[test]
fn data_that_does_not_fit_is_refused_before_the_work() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let open =
        |path: &str| Dataset::open(Path::new(path), &Request::new(Split::Test).limit(8)).unwrap();
    let error = check_data(&classifier, &open("synthetic:4x1x8x8")).unwrap_err();
    assert!(matches!(error, AuditError::Input { found: [1, 8, 8], .. }), "{error}");
    let error = check_data(&classifier, &open("synthetic:9x3x8x8")).unwrap_err();
    assert!(matches!(error, AuditError::Label { classes: 4, .. }), "{error}");
}

#[test]
fn progress_counts_every_image() {
    let (_folder, classifier) = classifier(&linear_net());
    let data = data(&classifier, 30);
    let graph = gradient::loss_gradient(&classifier).unwrap().to_bytes();
    let pool = Pool::new(&classifier, &SessionOptions::default(), 30).unwrap();
    let mut pool = pool.with_gradient(&classifier, &graph).unwrap();
    let (begun, done) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let tell = |progress| match progress {
        Progress::Begin(stage, images) => begun.lock().unwrap().push((stage, images)),
        Progress::Done(images) => {
            done.fetch_add(images, Ordering::Relaxed);
        }
    };
    let plan = plan(Norm::Linf, "1/255", 1);
    let measured = measure(pool.workers(), &data, &plan, &tell).unwrap();
    let attacked = measured.clean.correct;
    assert_eq!(begun.into_inner().unwrap(), [(Stage::Clean, 30), (Stage::Attack, attacked)]);
    assert_eq!(done.into_inner(), 30 + attacked);
}
