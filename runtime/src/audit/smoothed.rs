//! Certificates of a linear classifier, whose smoothed form is itself and whose radii are known.

use std::path::Path;

use ndarray::{Array1, Array2};
use rift_models::dataset::{Dataset, Pixels, Request, Split};
use rift_models::threat::Norm;

use super::smoothing::{Smoothing, Vote};
use super::{Keep, Measured, Plan, Watch, html, measure, report};
use crate::attack::gradient::{Attacker, Graphs};
use crate::attack::method::Method;
use crate::attack::oracle::Oracle;
use crate::session::{Classifier, SessionOptions};
use crate::small_models::{numbers, two_classes};

const N: usize = 40;
const SMOOTHING: Smoothing =
    Smoothing { sigma: 0.25, selection: 50, estimation: 1000, alpha: 0.001 };

/// The direction in which the second class wins.
fn direction() -> Array1<f32> {
    let weight = Array2::from_shape_vec((192, 2), numbers(9, 384, 0.5)).unwrap();
    &weight.column(1) - &weight.column(0)
}

fn classifier() -> Classifier {
    Classifier::from_bytes(Path::new("two.onnx"), two_classes().to_bytes()).unwrap()
}

fn data() -> Dataset {
    let request = Request::new(Split::Test).limit(N);
    Dataset::open(Path::new("synthetic:2x3x8x8"), &request).unwrap()
}

/// How far each image is from the boundary, above 0 on the second class's side.
fn distances(data: &Dataset) -> Vec<f64> {
    let direction = direction();
    let length = direction.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
    let of = |image: ndarray::ArrayView3<f32>| {
        let product = image.iter().zip(&direction).map(|(x, w)| f64::from(*x) * f64::from(*w));
        product.sum::<f64>() / length
    };
    data.batch(0..data.len()).outer_iter().map(of).collect()
}

fn vote(oracle: &mut impl Oracle, data: &Dataset, index: usize, batch: usize) -> Vote {
    SMOOTHING.vote(oracle, (data, index), (0, batch)).unwrap()
}

#[test]
fn no_certified_radius_is_above_the_truth() {
    let (classifier, data) = (classifier(), data());
    let graphs = Graphs::default();
    let mut oracle = Attacker::new(&classifier, &graphs, 64).unwrap();
    let largest = SMOOTHING.largest_radius().unwrap();
    let (mut certified, mut tight) = (0, 0);
    for (index, distance) in distances(&data).into_iter().enumerate() {
        let vote = vote(&mut oracle, &data, index, 64);
        let Some(radius) = SMOOTHING.radius(&vote) else {
            assert!(distance.abs() < 0.3 * SMOOTHING.sigma, "{index} abstains at {distance}");
            continue;
        };
        certified += 1;
        assert_eq!(vote.class, usize::from(distance > 0.0), "{index}");
        assert!(radius <= distance.abs(), "{index}: {radius} of {distance}");
        tight += usize::from(radius > 0.7 * distance.abs().min(largest));
    }
    assert!(certified > N / 2 && tight > certified / 2, "{certified} {tight}");
}

#[test]
fn abstains_on_the_boundary() {
    let (classifier, mut data) = (classifier(), data());
    let direction = direction();
    let square: f32 = direction.iter().map(|w| w * w).sum();
    let mut images = data.batch(0..N);
    for mut image in images.outer_iter_mut() {
        let product: f32 = image.iter().zip(&direction).map(|(x, w)| x * w).sum();
        for (value, w) in image.iter_mut().zip(&direction) {
            *value -= product / square * w;
        }
    }
    data.pixels = Pixels::Floats(images);
    assert!(distances(&data).iter().all(|distance| distance.abs() < 1e-5));
    let graphs = Graphs::default();
    let mut oracle = Attacker::new(&classifier, &graphs, 64).unwrap();
    // Every certificate here is wrong, which each may be with probability alpha: of 200, more than 7
    // would be with probability 0.001.
    let smoothing = Smoothing { selection: 20, estimation: 400, alpha: 0.01, ..SMOOTHING };
    let mut wrong = 0;
    for (seed, index) in (0..5).flat_map(|seed| (0..N).map(move |index| (seed, index))) {
        let vote = smoothing.vote(&mut oracle, (&data, index), (seed, 64)).unwrap();
        wrong += usize::from(smoothing.radius(&vote).is_some());
    }
    assert!(wrong <= 7, "{wrong} of 200");
}

#[test]
fn a_vote_does_not_know_of_batches() {
    let (classifier, data) = (classifier(), data());
    let graphs = Graphs::default();
    let mut oracle = Attacker::new(&classifier, &graphs, 64).unwrap();
    for index in [0, 7, 39] {
        let expected = vote(&mut oracle, &data, index, 64);
        for batch in [1, 7] {
            assert_eq!(vote(&mut oracle, &data, index, batch), expected, "batches of {batch}");
        }
    }
    let votes: Vec<usize> = (0..6).map(|i| vote(&mut oracle, &data, i, 64).count).collect();
    assert!(votes.windows(2).any(|pair| pair[0] != pair[1]), "{votes:?}");
}

fn audit(classifier: &Classifier, data: &Dataset) -> (Plan, Measured) {
    let plan = Plan {
        norm: Norm::L2,
        eps: ["0.1", "0.2"].map(|eps| eps.parse().unwrap()).to_vec(),
        methods: vec![Method::apgd_ce(1)],
        seed: 0,
        early_stop: true,
        batch: 16,
        keep: Keep::First(0),
        until: None,
        rows: 0..N,
        smoothing: Some(SMOOTHING),
    };
    let graphs = Graphs::build(classifier, plan.heads(2)).unwrap();
    let options = SessionOptions { threads: 2, batch: 16 };
    let mut attackers = Attacker::several(classifier, &graphs, &options, N).unwrap();
    let measured = measure(&mut attackers, data, &plan, &Watch::default()).unwrap();
    (plan, measured)
}

#[test]
fn a_report_holds_both_bounds_and_says_of_what() {
    let (classifier, mut data) = (classifier(), data());
    data.labels = distances(&data).iter().map(|distance| usize::from(*distance > 0.0)).collect();
    data.labels[3] = 1 - data.labels[3];
    let (plan, measured) = audit(&classifier, &data);
    let report = report::report(&classifier, &data, &plan, &measured);
    let certificate = report.certified.clone().unwrap();
    assert!(certificate.about.contains("neither bounds the other"), "{}", certificate.about);
    let curve = &certificate.curve;
    assert!(curve.is_sorted_by(|a, b| a.radius < b.radius));
    assert!(curve.is_sorted_by(|a, b| a.certified.correct >= b.certified.correct));
    assert!(curve[0].radius == 0.0 && curve[0].certified.correct < N);
    for (eps, robust) in [("0.1", &report.curve[0]), ("0.2", &report.curve[1])] {
        let of_eps = |point: &&rift_models::artifact::CertifiedPoint| {
            point.eps.as_ref().is_some_and(|own| own.to_string() == eps)
        };
        let point = curve.iter().find(of_eps).unwrap();
        assert_eq!(point.attacked, Some(robust.robust));
        // Of a linear model alone: its smoothed form is itself, so that the bounds must not cross.
        assert!(point.certified.correct <= robust.robust.correct);
        let exact = distances(&data).into_iter().zip(&data.labels).filter(|(distance, label)| {
            usize::from(*distance > 0.0) == **label && distance.abs() >= point.radius
        });
        let exact = exact.count();
        assert!((point.certified.correct..=robust.robust.correct).contains(&exact), "{exact}");
    }
    let wrong = certificate.samples[3];
    assert!(wrong.prediction.is_none_or(|class| class != data.labels[3]));
    let table = report::table(&report, "synthetic");
    assert!(table.contains("certified L2 0.1000"), "{table}");
    let page = html::page(&report, &html::Surroundings::default());
    assert!(page.contains("neither bounds the other") && page.contains("abstain"), "{page}");
}
