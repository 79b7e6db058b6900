//! The attacks on models whose optimum is known.

use ndarray::{Array2, Array4, ArrayView4, Axis};
use rift_models::threat::{AttackSpec, Epsilon, Norm, noise};

use super::apgd::Apgd;
use super::method::{Method, Setting};
use super::oracle::{Gradient, Oracle, OracleError, margin, prediction};
use super::pgd::{Pgd, PgdLoss};
use super::samples::Labelled;
use super::walk::{Attack, Carrier, Outcome, Queue};
use crate::autodiff::Head;

const INPUT: [usize; 3] = [2, 3, 4];
const VALUES: usize = 24;

/// `logits = scale · W x + b`, and optionally bent, so that the gradient depends on the image.
struct Analytic {
    weight: Array2<f32>,
    bias: Vec<f32>,
    is_bent: bool,
    largest_batch: usize,
    head: Option<Head>,
}

/// An oracle whose gradient pass gives logits that are off: a different model's, or not a number.
struct Misleading(Analytic, f32);

impl Oracle for Misleading {
    fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError> {
        self.0.logits(images)
    }

    fn follow(&mut self, head: Head) -> Result<(), OracleError> {
        self.0.follow(head)
    }

    fn gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
        targets: &[usize],
    ) -> Result<Gradient, OracleError> {
        let mut answer = self.0.gradient(images, labels, targets)?;
        answer.logits.fill(self.1);
        Ok(answer)
    }
}

fn uniform(seed: u64, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    let key = noise::NoiseKey { seed, attack: "test", restart: 0 };
    noise::random_start(&key, 0, Norm::Linf, 1.0, &mut out);
    out
}

impl Analytic {
    fn new(classes: usize, is_bent: bool) -> Self {
        let weight = Array2::from_shape_vec((classes, VALUES), uniform(7, classes * VALUES));
        Self {
            weight: weight.unwrap(),
            bias: uniform(8, classes),
            is_bent,
            largest_batch: 0,
            head: None,
        }
    }

    fn hidden(&self, x: f32) -> (f32, f32) {
        if self.is_bent { ((6.0 * x).sin(), 6.0 * (6.0 * x).cos()) } else { (x, 1.0) }
    }

    fn row(&self, image: &[f32]) -> Vec<f32> {
        let hidden: Vec<f32> = image.iter().map(|x| self.hidden(*x).0).collect();
        let rows = self.weight.rows().into_iter().zip(&self.bias);
        rows.map(|(w, b)| w.iter().zip(&hidden).map(|(w, h)| w * h).sum::<f32>() + b).collect()
    }
}

impl Analytic {
    /// The loss and its gradient by the logits.
    fn loss(&self, row: &[f32], label: usize, target: usize) -> (f32, Vec<f32>) {
        let class = if self.head == Some(Head::TargetLogOdds) { target } else { label };
        let others = || row.iter().enumerate().filter(move |(j, _)| *j != class);
        let (best, top) =
            others().fold((0, f32::NEG_INFINITY), |a, (j, z)| if *z > a.1 { (j, *z) } else { a });
        let total: f32 = others().map(|(_, z)| (z - top).exp()).sum();
        let weight = |j: usize, z: f32| match self.head {
            _ if j == class => -1.0,
            Some(Head::Margin) => f32::from(j == best),
            Some(Head::LogitDifference) => f32::from(j == target),
            _ => (z - top).exp() / total,
        };
        let slopes: Vec<f32> = row.iter().enumerate().map(|(j, z)| weight(j, *z)).collect();
        match self.head {
            Some(Head::Margin) => (top - row[class], slopes),
            Some(Head::LogitDifference) => (row[target] - row[class], slopes),
            Some(Head::TargetLogOdds) => {
                (row[class] - top - total.ln(), slopes.iter().map(|s| -s).collect())
            }
            _ => (top + total.ln() - row[class], slopes),
        }
    }
}

impl Oracle for Analytic {
    fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError> {
        self.largest_batch = self.largest_batch.max(images.len_of(Axis(0)));
        let mut logits = Array2::zeros((images.len_of(Axis(0)), self.bias.len()));
        for (image, mut row) in images.outer_iter().zip(logits.rows_mut()) {
            let image: Vec<f32> = image.iter().copied().collect();
            row.assign(&ndarray::Array1::from(self.row(&image)));
        }
        Ok(logits)
    }

    fn follow(&mut self, head: Head) -> Result<(), OracleError> {
        self.head = Some(head);
        Ok(())
    }

    fn gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
        targets: &[usize],
    ) -> Result<Gradient, OracleError> {
        let logits = self.logits(images)?;
        let mut losses = ndarray::Array1::zeros(labels.len());
        let mut gradient = Array4::zeros(images.raw_dim());
        for n in 0..labels.len() {
            let row = logits.row(n);
            let (loss, slopes) = self.loss(row.as_slice().unwrap(), labels[n], targets[n]);
            losses[n] = loss;
            let image = images.index_axis(Axis(0), n);
            let mut out = gradient.index_axis_mut(Axis(0), n);
            for (i, (to, x)) in out.iter_mut().zip(image).enumerate() {
                for (class, slope) in slopes.iter().enumerate() {
                    *to += slope * self.weight[(class, i)] * self.hidden(*x).1;
                }
            }
        }
        Ok(Gradient { logits, losses, gradient })
    }
}

fn images(n: usize) -> Array4<f32> {
    let [c, h, w] = INPUT;
    let values = uniform(3, n * VALUES).into_iter().map(|v| v * 0.5 + 0.5).collect();
    Array4::from_shape_vec((n, c, h, w), values).unwrap()
}

fn predictions(logits: &Array2<f32>) -> Vec<usize> {
    logits.rows().into_iter().map(|row| prediction(&row)).collect()
}

/// Images with the labels that the model gives them, so that all are right to begin with.
fn labelled(oracle: &mut Analytic, n: usize) -> (Array4<f32>, Vec<usize>) {
    let images = images(n);
    let labels = predictions(&oracle.logits(&images.view()).unwrap());
    (images, labels)
}

fn spec(norm: Norm, eps: &str, step: &str, steps: usize) -> AttackSpec {
    let length = |text: &str| text.parse::<Epsilon>().unwrap();
    AttackSpec { norm, eps: length(eps), step: length(step), steps, ..AttackSpec::paper() }
}

fn attack(oracle: &mut Analytic, n: usize, spec: &AttackSpec, batch: usize) -> Vec<Outcome> {
    attack_in_order(oracle, n, spec, batch, (0..n).collect())
}

fn attack_in_order(
    oracle: &mut Analytic,
    n: usize,
    spec: &AttackSpec,
    batch: usize,
    order: Vec<usize>,
) -> Vec<Outcome> {
    let (images, labels) = labelled(oracle, n);
    carry(&Pgd::new(spec.clone()), oracle, (&images, &labels), (batch, order))
}

/// Attacks and sorts by index.
fn carry(
    attack: &impl Attack,
    oracle: &mut impl Oracle,
    (images, labels): (&Array4<f32>, &[usize]),
    (batch, order): (usize, Vec<usize>),
) -> Vec<Outcome> {
    let logits = oracle.logits(&images.view()).unwrap();
    let samples = Labelled { images: images.view(), labels, logits: logits.view() };
    let mut outcomes = Vec::new();
    let queue = Queue::new(order);
    let carrier = Carrier { input: INPUT, batch };
    carrier.run(attack, oracle, (&samples, &queue), |outcome| outcomes.push(outcome)).unwrap();
    outcomes.sort_by_key(|outcome| outcome.index);
    outcomes
}

fn broken(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.broken).count()
}

#[test]
fn linf_finds_the_optimum_of_a_linear_model_exactly() {
    let mut oracle = Analytic::new(2, false);
    let n = 200;
    let (images, labels) = labelled(&mut oracle, n);
    let eps = 0.05_f32;
    let outcomes = attack(&mut oracle, n, &spec(Norm::Linf, "0.05", "0.02", 20), 16);
    let (mut checked, mut possible) = (0, 0);
    for outcome in &outcomes {
        let image = images.index_axis(Axis(0), outcome.index);
        let label = labels[outcome.index];
        let logits = oracle.logits(&image.insert_axis(Axis(0))).unwrap();
        let mut worst = margin(&logits.row(0), label);
        for (i, x) in image.iter().enumerate() {
            let slope = oracle.weight[(1 - label, i)] - oracle.weight[(label, i)];
            let room = if slope > 0.0 { eps.min(1.0 - x) } else { eps.min(*x) };
            worst -= slope.abs() * room;
        }
        if worst.abs() > 1e-4 {
            assert_eq!(outcome.broken, worst < 0.0, "image {}: {worst}", outcome.index);
            checked += 1;
        }
        possible += usize::from(worst < 0.0);
    }
    assert!(checked > 190 && possible > 20 && possible < 190, "{checked} {possible}");
}

#[test]
fn l2_finds_the_optimum_of_a_linear_model() {
    let mut oracle = Analytic::new(2, false);
    let n = 200;
    let (mut images, labels) = labelled(&mut oracle, n);
    // Away from the walls of the box the optimum has a closed form.
    images.mapv_inplace(|x| 0.25 + 0.5 * x);
    let settings = spec(Norm::L2, "0.2", "0.08", 20);
    let slope = &oracle.weight.row(1) - &oracle.weight.row(0);
    let length = slope.dot(&slope).sqrt();
    let logits = oracle.logits(&images.view()).unwrap();
    let now = predictions(&logits);
    let order = (0..n).collect();
    let outcomes = carry(&Pgd::new(settings), &mut oracle, (&images, &now), (8, order));
    let mut possible = 0;
    for outcome in &outcomes {
        let worst = margin(&logits.row(outcome.index), now[outcome.index]) - 0.2 * length;
        assert!(worst.abs() < 2e-4 || outcome.broken == (worst < 0.0), "{worst}");
        possible += usize::from(worst < 0.0);
    }
    assert!(possible > 20 && possible < 190 && labels.len() == n, "{possible}");
}

#[test]
fn stays_inside_ball_and_box_and_tells_the_truth() {
    for norm in [Norm::Linf, Norm::L2] {
        let mut oracle = Analytic::new(5, true);
        let n = 60;
        let eps = if norm == Norm::Linf { "0.06" } else { "0.2" };
        let settings = AttackSpec { restarts: 2, ..spec(norm, eps, "0.03", 7) };
        let (images, labels) = labelled(&mut oracle, n);
        let outcomes = attack(&mut oracle, n, &settings, 7);
        assert!(broken(&outcomes) > 5 && broken(&outcomes) < n, "{}", broken(&outcomes));
        for outcome in outcomes {
            let clean = images.index_axis(Axis(0), outcome.index);
            let delta = outcome.image.iter().zip(clean).map(|(a, b)| a - b);
            let distance = norm.of(delta);
            assert!(distance <= settings.eps.value() + 1e-6, "{distance}");
            assert_eq!(distance, outcome.distance);
            assert!(outcome.image.iter().all(|v| (0.0..=1.0).contains(v)));
            let logits = oracle.row(&outcome.image);
            assert_eq!(prediction(&ndarray::aview1(&logits)), outcome.prediction);
            assert_eq!(outcome.broken, outcome.prediction != labels[outcome.index]);
        }
    }
}

#[test]
fn depends_neither_on_the_batch_nor_on_the_order() {
    for early_stop in [true, false] {
        let mut oracle = Analytic::new(4, true);
        let settings =
            AttackSpec { restarts: 3, early_stop, ..spec(Norm::Linf, "0.05", "0.02", 5) };
        let first = attack(&mut oracle, 40, &settings, 1);
        assert!(broken(&first) > 5 && broken(&first) < 40, "{}", broken(&first));
        for batch in [2, 7, 64] {
            assert_eq!(first, attack(&mut oracle, 40, &settings, batch));
            let reversed = (0..40).rev().collect();
            assert_eq!(first, attack_in_order(&mut oracle, 40, &settings, batch, reversed));
        }
    }
}

#[test]
fn never_asks_for_more_than_a_batch() {
    let mut oracle = Analytic::new(4, true);
    let (images, labels) = labelled(&mut oracle, 50);
    let logits = oracle.logits(&images.view()).unwrap();
    oracle.largest_batch = 0;
    let samples = Labelled { images: images.view(), labels: &labels, logits: logits.view() };
    let pgd = Pgd::new(AttackSpec { restarts: 2, ..spec(Norm::Linf, "0.05", "0.02", 4) });
    let queue = Queue::new((0..50).collect());
    let carrier = Carrier { input: INPUT, batch: 8 };
    carrier.run(&pgd, &mut oracle, (&samples, &queue), |_| ()).unwrap();
    assert_eq!(oracle.largest_batch, 8);
}

#[test]
fn more_room_and_more_steps_break_no_fewer() {
    let mut oracle = Analytic::new(5, true);
    let mut count =
        |eps, steps| broken(&attack(&mut oracle, 120, &spec(Norm::Linf, eps, "0.01", steps), 16));
    let by_steps = [1, 3, 10].map(|steps| count("0.04", steps));
    let by_eps = ["0.01", "0.03", "0.06"].map(|eps| count(eps, 10));
    for counts in [by_steps, by_eps] {
        assert!(counts.is_sorted() && counts[0] < counts[2], "{by_steps:?} {by_eps:?}");
    }
}

#[test]
fn restarts_go_on_over_the_survivors() {
    let mut oracle = Analytic::new(5, true);
    let one = spec(Norm::Linf, "0.04", "0.02", 2);
    let first = attack(&mut oracle, 100, &one, 16);
    let five = attack(&mut oracle, 100, &AttackSpec { restarts: 5, ..one }, 16);
    assert!(broken(&five) > broken(&first));
    for (a, b) in first.iter().zip(&five) {
        if a.broken {
            assert_eq!(a, b);
        } else if !b.broken {
            assert_eq!(b.gradients, 10);
        }
    }
}

#[test]
fn the_served_model_alone_decides_what_is_broken() {
    // Every iterate is doubtful, so every one is judged; what stays robust is walked to the end.
    for useless in [0.0, f32::NAN] {
        let mut oracle = Analytic::new(5, true);
        let settings = AttackSpec { restarts: 2, ..spec(Norm::Linf, "0.03", "0.01", 4) };
        let honest = attack(&mut oracle, 60, &settings, 8);
        let (images, labels) = labelled(&mut oracle, 60);
        let mut misleading = Misleading(oracle, useless);
        let order = (0..60).collect();
        let pgd = Pgd::new(settings);
        let outcomes = carry(&pgd, &mut misleading, (&images, &labels), (8, order));
        assert!(broken(&honest) > 5 && broken(&honest) < 55, "{}", broken(&honest));
        for (a, b) in honest.iter().zip(&outcomes) {
            assert_eq!((a.broken, &a.image, a.gradients), (b.broken, &b.image, b.gradients));
            assert!(a.forwards <= b.forwards);
        }
    }
}

#[test]
fn a_failing_model_ends_the_attack() {
    struct Failing;
    impl Oracle for Failing {
        fn logits(&mut self, _: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError> {
            Err("out of memory".into())
        }

        fn follow(&mut self, _: Head) -> Result<(), OracleError> {
            Ok(())
        }

        fn gradient(
            &mut self,
            _: &ArrayView4<f32>,
            _: &[usize],
            _: &[usize],
        ) -> Result<Gradient, OracleError> {
            Err("out of memory".into())
        }
    }
    let images = images(3);
    let logits = Array2::zeros((3, 3));
    let samples = Labelled { images: images.view(), labels: &[0, 1, 2], logits: logits.view() };
    let pgd = Pgd::new(AttackSpec::paper());
    let carrier = Carrier { input: INPUT, batch: 2 };
    let queue = Queue::new(vec![0, 1, 2]);
    let error = carrier.run(&pgd, &mut Failing, (&samples, &queue), |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "out of memory");
}

#[test]
fn a_gradient_of_zero_is_noticed() {
    let mut oracle = Analytic::new(3, false);
    oracle.weight.fill(0.0);
    let outcomes = attack(&mut oracle, 5, &spec(Norm::Linf, "0.1", "0.02", 3), 2);
    assert!(outcomes.iter().all(|outcome| outcome.blind && !outcome.broken));
}

#[test]
fn without_steps_only_the_random_start_is_judged() {
    let mut oracle = Analytic::new(5, true);
    let outcomes = attack(&mut oracle, 20, &spec(Norm::Linf, "0.1", "0", 0), 4);
    assert_eq!(outcomes.len(), 20);
    assert!(outcomes.iter().all(|o| o.gradients == 0 && o.forwards == 1 && o.distance > 0.0));
}

/// The least margin of an image of a linear model with two classes, within ball and box.
fn least_margin(
    oracle: &mut Analytic,
    image: &ndarray::ArrayView3<f32>,
    label: usize,
    eps: f32,
) -> f32 {
    let logits = oracle.logits(&(*image).insert_axis(Axis(0))).unwrap();
    let mut least = margin(&logits.row(0), label);
    for (i, x) in image.iter().enumerate() {
        let slope = oracle.weight[(1 - label, i)] - oracle.weight[(label, i)];
        let room = if slope > 0.0 { eps.min(1.0 - x) } else { eps.min(*x) };
        least -= slope.abs() * room;
    }
    least
}

fn all_methods() -> Vec<Method> {
    let pgd = |loss, momentum| Method::Pgd {
        step: "0.02".parse().unwrap(),
        steps: 20,
        restarts: 1,
        loss,
        momentum,
    };
    let mut methods = vec![
        Method::Fgsm,
        pgd(PgdLoss::Ce, 0.0),
        pgd(PgdLoss::Margin, 0.0),
        pgd(PgdLoss::Targeted, 0.0),
        pgd(PgdLoss::Ce, 1.0),
        Method::apgd_dlr(1),
    ];
    methods.extend(Method::autoattack());
    methods
}

fn run(
    method: &Method,
    oracle: &mut Analytic,
    n: usize,
    (batch, eps): (usize, &str),
) -> Vec<Outcome> {
    let (images, labels) = labelled(oracle, n);
    let classes = oracle.bias.len();
    let logits = oracle.logits(&images.view()).unwrap();
    let samples = Labelled { images: images.view(), labels: &labels, logits: logits.view() };
    let norm = if eps.starts_with("l2") { Norm::L2 } else { Norm::Linf };
    let eps = eps.trim_start_matches("l2 ").parse().unwrap();
    let setting = Setting { norm, eps, seed: 0, early_stop: true };
    let carrier = Carrier { input: INPUT, batch };
    let (queue, mut outcomes) = (Queue::new((0..n).collect()), Vec::new());
    method
        .run((&setting, classes), &carrier, oracle, (&samples, &queue), |o| outcomes.push(o))
        .unwrap();
    outcomes.sort_by_key(|outcome| outcome.index);
    outcomes
}

#[test]
fn every_attack_finds_the_optimum_of_two_classes() {
    let mut oracle = Analytic::new(2, false);
    let n = 60;
    let (images, labels) = labelled(&mut oracle, n);
    let least: Vec<f32> = (0..n)
        .map(|i| least_margin(&mut oracle, &images.index_axis(Axis(0), i), labels[i], 0.05))
        .collect();
    let possible = least.iter().filter(|margin| **margin < 0.0).count();
    assert!((10..50).contains(&possible), "{possible}");
    for method in all_methods() {
        for outcome in run(&method, &mut oracle, n, (16, "0.05")) {
            let least = least[outcome.index];
            // Random search has no gradient, and FAB overshoots the boundary by a twentieth.
            let is_rough = method.is_black_box() || method.name() == "fab-t";
            let slack = if is_rough { 0.02 } else { 1e-3 };
            let is_clear = least.abs() > slack;
            let expected = least < 0.0;
            assert!(!is_clear || outcome.broken == expected, "{method}: {least} {outcome:?}");
        }
    }
}

#[test]
fn every_attack_is_the_same_in_any_batch_and_tells_the_truth() {
    for (eps, size) in [("0.03", 0.03), ("l2 0.1", 0.1)] {
        for method in all_methods() {
            let mut oracle = Analytic::new(5, true);
            let first = run(&method, &mut oracle, 30, (1, eps));
            assert_eq!(first, run(&method, &mut oracle, 30, (7, eps)), "{method}");
            let broken = broken(&first);
            assert!(broken > 0 && broken < 30, "{method} {eps}: {broken}");
            let (images, labels) = labelled(&mut oracle, 30);
            for outcome in first {
                let clean = images.index_axis(Axis(0), outcome.index);
                let norm = if size == 0.1 { Norm::L2 } else { Norm::Linf };
                let distance = norm.of(outcome.image.iter().zip(clean).map(|(a, b)| a - b));
                assert_eq!(distance, outcome.distance);
                assert!(!outcome.broken || distance <= size + 1e-6, "{method} {distance}");
                assert!(outcome.image.iter().all(|v| (0.0..=1.0).contains(v)));
                let found = prediction(&ndarray::aview1(&oracle.row(&outcome.image)));
                assert_eq!(outcome.broken, found != labels[outcome.index]);
                assert!(!outcome.broken || found == outcome.prediction);
            }
        }
    }
}

#[test]
fn budgets_are_autoattacks() {
    let mut oracle = Analytic::new(12, false);
    oracle.bias[3] += 1e6;
    for (method, gradients, forwards) in [
        (Method::apgd_ce(1), 101, 0),
        (Method::apgd_dlr(5), 505, 0),
        (Method::apgd_t(), 909, 0),
        (Method::fab_t(1), 900, 900),
        (Method::square(), 0, 5001),
    ] {
        for outcome in run(&method, &mut oracle, 2, (2, "0.01")) {
            assert_eq!((outcome.gradients, outcome.forwards), (gradients, forwards), "{method}");
            assert!(!outcome.broken);
        }
    }
    let mut three = Analytic::new(3, false);
    three.bias[1] += 1e6;
    let outcomes = run(&Method::apgd_t(), &mut three, 2, (2, "0.01"));
    assert!(outcomes.iter().all(|outcome| outcome.gradients == 202));
    assert_eq!(Method::apgd_t().head(3), Some(Head::LogitDifference));
    assert_eq!(Method::apgd_dlr(1).head(3), Some(Head::Margin));
}

#[test]
fn without_early_stop_apgd_walks_a_whole_restart() {
    let mut oracle = Analytic::new(5, true);
    let (images, labels) = labelled(&mut oracle, 20);
    let apgd = |early_stop| Apgd {
        name: "apgd-ce",
        head: Head::LogOdds,
        norm: Norm::Linf,
        eps: 0.05,
        iterations: 20,
        restarts: 3,
        targets: 0,
        early_stop,
        seed: 0,
    };
    let mut both = [true, false].map(|early_stop| {
        carry(&apgd(early_stop), &mut oracle, (&images, &labels), (8, (0..20).collect()))
    });
    let [early, late] = &mut both;
    assert!(broken(early) > 3);
    for (early, late) in early.iter().zip(late.iter()) {
        assert_eq!(early.broken, late.broken);
        assert_eq!(late.gradients % 21, 0);
        assert!(early.gradients <= late.gradients);
    }
}

#[test]
fn a_queue_that_closes_leaves_the_rest() {
    let mut oracle = Analytic::new(4, false);
    let (images, labels) = labelled(&mut oracle, 5);
    let logits = oracle.logits(&images.view()).unwrap();
    let samples = Labelled { images: images.view(), labels: &labels, logits: logits.view() };
    let queue = Queue::new((0..5).collect()).until(Some(std::time::Instant::now()));
    let carrier = Carrier { input: INPUT, batch: 2 };
    let mut count = 0;
    let pgd = Pgd::new(AttackSpec::paper());
    carrier.run(&pgd, &mut oracle, (&samples, &queue), |_| count += 1).unwrap();
    assert_eq!(count, 0);
}
