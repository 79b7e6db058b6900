//! Audits of small models on synthetic images.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Axis;
use rift_models::dataset::{Dataset, Request, Split};
use rift_models::onnx::Model;
use rift_models::threat::{Epsilon, Norm};

use super::{AuditError, Keep, Measured, Plan, Step, Watch, check_data, measure, report, warnings};
use crate::attack::gradient::{self, Attacker, Graphs};
use crate::attack::method::Method;
use crate::attack::oracle::prediction;
use crate::attack::pgd::PgdLoss;
use crate::session::{Classifier, Pool, SessionOptions};
use crate::small_models::{INPUT, bundle, conv_net, linear_net, positions_net, two_classes};

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

fn pgd(eps: &str, restarts: usize) -> Method {
    let eps: Epsilon = eps.parse().unwrap();
    let step = (eps.value() / 3.0).to_string().parse().unwrap();
    Method::Pgd { step, steps: 6, restarts, loss: PgdLoss::Ce, momentum: 0.0 }
}

fn plan(norm: Norm, eps: &str, restarts: usize) -> Plan {
    Plan {
        norm,
        eps: vec![eps.parse().unwrap()],
        methods: vec![pgd(eps, restarts)],
        seed: 0,
        early_stop: true,
        batch: 16,
        keep: Keep::All,
        until: None,
        rows: 0..0,
        smoothing: None,
    }
}

/// Audits all of the data, or what the plan says.
fn audit(classifier: &Classifier, data: &Dataset, plan: &Plan, threads: usize) -> Measured {
    let graphs = Graphs::build(classifier, plan.heads(classifier.classes())).unwrap();
    let options = SessionOptions { threads, batch: plan.batch };
    let mut attackers = Attacker::several(classifier, &graphs, &options, data.len()).unwrap();
    let rows = if plan.rows.is_empty() { 0..data.len() } else { plan.rows.clone() };
    let plan = Plan { rows, ..plan.clone() };
    measure(&mut attackers, data, &plan, &Watch::default()).unwrap()
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
            assert_eq!(first.findings, other.findings);
            assert_eq!(first.fates, other.fates, "{threads} threads, batches of {batch}");
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
    assert_eq!(many.fates[..few.fates.len()], few.fates[..]);
}

#[test]
fn the_report_agrees_with_the_adversarial_images() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let data = data(&classifier, 50);
    let plan = plan(Norm::Linf, LINF, 1);
    let measured = audit(&classifier, &data, &plan, 2);
    let mut images = data.batch(0..50);
    let [c, h, w] = INPUT;
    for outcome in measured.fates.iter().map(|fate| &fate.outcome) {
        let image = ndarray::ArrayView3::from_shape((c, h, w), &outcome.image).unwrap();
        images.index_axis_mut(Axis(0), outcome.index).assign(&image);
    }
    let far = (&images - &data.batch(0..50)).fold(0.0_f32, |far, d| far.max(d.abs()));
    assert!(far > 0.0 && far <= plan.eps[0].value() + 1e-6, "{far}");
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
    data.split = Split::Train;
    data.classes = vec!["bird".to_owned(); data.classes.len()];
    let careless = plan(Norm::Linf, "0.5", 1);
    let found = warnings(&classifier, &data, &careless, &measured).join("\n");
    for part in [
        "probabilities: ",
        "large-eps: ",
        "training-data: ",
        "class-names: class 0 is `cat` to the model",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let mut weak = plan(Norm::Linf, "8/255", 1);
    let step = "2/255".parse().unwrap();
    weak.methods =
        vec![Method::Pgd { step, steps: 2, restarts: 1, loss: PgdLoss::Ce, momentum: 0.0 }];
    let found = warnings(&classifier, &data, &weak, &measured).join("\n");
    assert!(found.contains("short-steps: "), "{found}");
    assert!(!found.contains("gradients"), "{found}");
}

#[test]
fn an_honest_model_raises_no_suspicion() {
    for model in [conv_net(None), linear_net()] {
        let (_folder, classifier) = classifier(&model);
        let data = data(&classifier, 40);
        let measured = audit(&classifier, &data, &plan(Norm::Linf, LINF, 1), 2);
        assert!(!measured.findings.is_masked(), "{:?}", measured.findings);
        assert_eq!((measured.findings.random, measured.findings.by_batch), (0, 0));
        assert_eq!(measured.stages.len(), 1);
    }
}

#[test]
fn later_attacks_see_what_earlier_ones_left() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let data = data(&classifier, 50);
    let mut composed = plan(Norm::Linf, "6/255", 1);
    composed.methods = Method::autoattack();
    composed.methods.insert(0, Method::Fgsm);
    let measured = audit(&classifier, &data, &composed, 2);
    let mut left = measured.clean.correct;
    for stage in &measured.stages {
        assert_eq!(stage.attacked, left);
        left -= stage.broken;
        assert_eq!(stage.robust.correct, left);
    }
    assert_eq!((measured.robust.correct, measured.stages.len()), (left, 5));
    assert!(0 < left && left < measured.clean.correct, "{left}");
    for method in Method::autoattack() {
        let alone = Plan { methods: vec![method], ..composed.clone() };
        let alone = audit(&classifier, &data, &alone, 2).robust.correct;
        assert!(alone >= left, "{alone} {left}");
    }
}

#[test]
fn a_curve_falls_and_knows_what_was_broken_before() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let data = data(&classifier, 50);
    let mut curve = plan(Norm::Linf, "12/255", 1);
    curve.eps = ["3/255", "6/255", "12/255"].map(|eps| eps.parse().unwrap()).to_vec();
    let measured = audit(&classifier, &data, &curve, 2);
    let curve = Plan { rows: 0..50, ..curve };
    let report = report::report(&classifier, &data, &curve, &measured);
    let points: Vec<usize> = report.curve.iter().map(|point| point.robust.correct).collect();
    assert!(points.is_sorted_by(|a, b| a > b) && points[0] < 42, "{points:?}");
    assert_eq!(report.threat.eps.to_string(), "12/255");
    assert_eq!(report.robust_accuracy, points[2] as f64 / 50.0);
    for (point, eps) in points.iter().zip(["3/255", "6/255", "12/255"]) {
        let at = |sample: &&rift_models::artifact::SampleResult| {
            sample.broken_at.as_ref().is_some_and(|at| at.to_string() == eps)
        };
        let attack = report.attacks.iter().find(|a| a.eps.as_ref().unwrap().to_string() == eps);
        assert_eq!(attack.unwrap().robust.correct, *point);
        assert_eq!(report.samples.iter().filter(at).count(), attack.unwrap().broken);
    }
    let disorder = Plan { eps: curve.eps.iter().rev().cloned().collect(), ..curve };
    assert!(matches!(disorder.validate(192), Err(AuditError::Order { .. })));
}

#[test]
fn two_classes_can_be_attacked_by_everything() {
    let bytes = two_classes().to_bytes();
    let classifier = Classifier::from_bytes(Path::new("two.onnx"), bytes).unwrap();
    let request = Request::new(Split::Test).limit(20);
    let mut data = Dataset::open(Path::new("synthetic:2x3x8x8"), &request).unwrap();
    let mut pool = Pool::new(&classifier, &SessionOptions::default(), 20).unwrap();
    let logits = pool.logits(&data.batch(0..20).view()).unwrap();
    data.labels = logits.rows().into_iter().map(|row| prediction(&row)).collect();
    let mut plus = plan(Norm::L2, "0.05", 1);
    plus.methods = Method::plus();
    let measured = audit(&classifier, &data, &plus, 2);
    assert!(measured.robust.correct < measured.clean.correct, "{:?}", measured.robust);
    assert!(measured.stages.iter().skip(1).all(|stage| stage.broken <= 1));
}

#[test]
fn a_time_budget_leaves_the_rest_and_says_so() {
    let (_folder, classifier) = classifier(&conv_net(None));
    let data = data(&classifier, 30);
    let late = Plan { until: Some(std::time::Instant::now()), ..plan(Norm::Linf, LINF, 1) };
    let measured = audit(&classifier, &data, &late, 2);
    assert_eq!(measured.robust.correct, measured.clean.correct);
    let late = Plan { rows: 0..30, ..late };
    let report = report::report(&classifier, &data, &late, &measured);
    assert_eq!(report.attacks[0].unreached, report.attacks[0].attacked);
    let warned = report.warnings.iter().any(|warning| warning.starts_with("unreached: "));
    assert!(warned, "{:?}", report.warnings);
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
    let plan = Plan { rows: 0..30, ..plan(Norm::Linf, "1/255", 1) };
    let graphs = Graphs::build(&classifier, plan.heads(4)).unwrap();
    let options = SessionOptions::default();
    let mut attackers = Attacker::several(&classifier, &graphs, &options, 30).unwrap();
    let (clean, attacked) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let said_when = AtomicUsize::new(0);
    let tell = |step: Step<'_>| {
        match step.name {
            "clean" => clean.fetch_add(step.done, Ordering::Relaxed),
            "pgd" => attacked.fetch_add(step.done, Ordering::Relaxed),
            _ => 0,
        };
        said_when.fetch_add(usize::from(step.left.is_some()), Ordering::Relaxed);
    };
    let watch = Watch { progress: Some(&tell), ..Watch::default() };
    let measured = measure(&mut attackers, &data, &plan, &watch).unwrap();
    assert_eq!(clean.into_inner(), 30);
    assert_eq!(said_when.into_inner(), measured.clean.correct);
    assert_eq!(attacked.into_inner(), measured.clean.correct);
}
