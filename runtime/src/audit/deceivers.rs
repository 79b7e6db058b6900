//! Models built to look more robust than they are: each is found out by name, and none is reported
//! more robust than random search finds it.

use std::path::Path;

use ndarray::{Array2, Array4, ArrayView1};
use rift_models::dataset::{Dataset, Pixels, Request, Split};
use rift_models::onnx::{DataType, Dim, GraphBuilder, Model, attribute};
use rift_models::threat::Norm;

use super::{Keep, Measured, Plan, Watch, measure, warnings};
use crate::attack::gradient::{Attacker, Graphs};
use crate::attack::method::Method;
use crate::attack::oracle::{Oracle, prediction};
use crate::attack::pgd::PgdLoss;
use crate::session::{Classifier, SessionOptions};
use crate::small_models::{CLASSES, INPUT, numbers};

const EPS: &str = "16/255";
const N: usize = 40;

/// How a model deceives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trick {
    None,
    /// Logits so large that softmax is 0 or 1.
    Saturated,
    /// Activations in steps, whose gradient is 0.
    Quantised,
    /// Pixels plus a fast zigzag, whose gradient points anywhere.
    Shattered,
    /// Noise on the logits.
    Random,
    /// The same noise, and a constant beside which it is nothing.
    RandomOnTop,
    /// The answer to the first image for the whole batch.
    FirstOfBatch,
    /// The other way round for an image alone.
    TurnedAlone,
    /// One for the class and 0 for the others, but for a trace of what they were.
    Hard,
    /// Pixels less half the mean of the batch.
    MeanOfBatch,
    /// Logits so many times larger, behind a softmax, which is the last operator or not.
    Softmax {
        times: u16,
        is_last: bool,
    },
}

fn model(trick: Trick) -> Model {
    let [c, h, w] = INPUT;
    let mut b = GraphBuilder::new("deceiver", 17);
    let dims = [Dim::free("N"), Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)];
    let mut x = b.input("image", DataType::Float, &dims).unwrap();
    if trick == Trick::Shattered {
        x = zigzag(&mut b, &x);
    }
    if trick == Trick::MeanOfBatch {
        x = less_mean(&mut b, &x);
    }
    let weight = Array4::from_shape_vec((8, c, 3, 3), numbers(2, 8 * c * 9, 0.6)).unwrap();
    let weight = b.array("conv", &weight);
    let pads = vec![attribute::ints("pads", &[1, 1, 1, 1])];
    x = b.node("Conv", &[&x, &weight], pads);
    x = if trick == Trick::Quantised { steps(&mut b, &x) } else { b.node("Relu", &[&x], vec![]) };
    let flat = b.node("Flatten", &[&x], vec![]);
    let width = 8 * h * w;
    let weight = Array2::from_shape_vec((width, CLASSES), numbers(5, width * CLASSES, 0.5));
    let weight = b.array("weight", &weight.unwrap());
    let mut y = b.node("MatMul", &[&flat, &weight], vec![]);
    match trick {
        Trick::Saturated => {
            let many = b.scalar("many", 1000.0);
            y = b.node("Mul", &[&y, &many], vec![]);
        }
        Trick::Random | Trick::RandomOnTop => {
            let shape = vec![
                attribute::ints("shape", &[1, CLASSES as i64]),
                attribute::float("scale", 0.3),
            ];
            let noise = b.node("RandomNormal", &[], shape);
            y = b.node("Add", &[&y, &noise], vec![]);
            if trick == Trick::RandomOnTop {
                let most = b.scalar("most", 3e4);
                y = b.node("Add", &[&y, &most], vec![]);
            }
        }
        Trick::TurnedAlone => y = turned_alone(&mut b, [&x, &y]),
        Trick::Hard => y = hardened(&mut b, &y),
        Trick::FirstOfBatch => {
            let [start, end] = [0, 1].map(|at| b.integers("at", &[at]));
            let first = b.node("Slice", &[&y, &start, &end, &start], vec![]);
            let zero = b.scalar("zero", 0.0);
            let nothing = b.node("Mul", &[&y, &zero], vec![]);
            y = b.node("Add", &[&nothing, &first], vec![]);
        }
        Trick::Softmax { times, is_last } => {
            let times = b.scalar("times", f32::from(times));
            y = b.node("Mul", &[&y, &times], vec![]);
            y = b.node("Softmax", &[&y], vec![attribute::int("axis", 1)]);
            if !is_last {
                let one = b.scalar("one", 1.0);
                y = b.node("Mul", &[&y, &one], vec![]);
            }
        }
        _ => {}
    }
    b.node_making("logits", "Identity", &[&y], vec![]).unwrap();
    b.output("logits", DataType::Float, &[Dim::free("N"), Dim::Fixed(CLASSES)]);
    b.finish().unwrap()
}

/// `x − 0.5 · mean − 0.5`, with the mean over the batch; without the constant one image alone would be
/// itself but for its contrast.
fn less_mean(b: &mut GraphBuilder, x: &str) -> String {
    let mean = b.node("ReduceMean", &[x], vec![attribute::ints("axes", &[0])]);
    let half = b.scalar("half", 0.5);
    let mean = b.node("Mul", &[&mean, &half], vec![]);
    let less = b.node("Sub", &[x, &mean], vec![]);
    b.node("Sub", &[&less, &half], vec![])
}

/// `-y` where `x` is one image.
fn turned_alone(b: &mut GraphBuilder, [x, y]: [&str; 2]) -> String {
    let ends = vec![attribute::int("start", 0), attribute::int("end", 1)];
    let many = b.node("Shape", &[x], ends);
    let one = b.integers("one", &[1]);
    let is_alone = b.node("Equal", &[&many, &one], vec![]);
    let minus = b.scalar("minus", -1.0);
    let turned = b.node("Mul", &[y, &minus], vec![]);
    b.node("Where", &[&is_alone, &turned, y], vec![])
}

/// `[y = max y] + 10⁻⁷ y`.
fn hardened(b: &mut GraphBuilder, y: &str) -> String {
    let most = b.node("ReduceMax", &[y], vec![attribute::ints("axes", &[1])]);
    let is_most = b.node("Equal", &[y, &most], vec![]);
    let hard = b.node("Cast", &[&is_most], vec![attribute::int("to", 1)]);
    let little = b.scalar("little", 1e-7);
    let trace = b.node("Mul", &[y, &little], vec![]);
    b.node("Add", &[&hard, &trace], vec![])
}

/// `x + 0.03 · t(x)`, where `t` goes from 0 to 1 and back 64 times.
fn zigzag(b: &mut GraphBuilder, x: &str) -> String {
    let (one, two) = (b.scalar("one", 1.0), b.scalar("two", 2.0));
    let mut t = x.to_owned();
    for _ in 0..7 {
        t = b.node("Mul", &[&t, &two], vec![]);
        t = b.node("Sub", &[&t, &one], vec![]);
        let below = b.node("Neg", &[&t], vec![]);
        let [up, down] = [&t, &below].map(|side| b.node("Relu", &[side], vec![]));
        t = b.node("Add", &[&up, &down], vec![]);
        t = b.node("Sub", &[&one, &t], vec![]);
    }
    let little = b.scalar("little", 0.03);
    t = b.node("Mul", &[&t, &little], vec![]);
    b.node("Add", &[x, &t], vec![])
}

/// A staircase of eight steps, each all but vertical.
fn steps(b: &mut GraphBuilder, x: &str) -> String {
    let (low, high) = (b.scalar("low", 0.0), b.scalar("high", 0.25));
    let steep = b.scalar("steep", 1e7);
    let stairs: Vec<String> = (0..8)
        .map(|step| {
            let at = b.scalar("at", 0.251 * step as f32 - 0.777);
            let y = b.node("Sub", &[x, &at], vec![]);
            let y = b.node("Mul", &[&y, &steep], vec![]);
            b.node("Clip", &[&y, &low, &high], vec![])
        })
        .collect();
    let stairs: Vec<&str> = stairs.iter().map(String::as_str).collect();
    b.node("Sum", &stairs, vec![])
}

struct Case {
    classifier: Classifier,
    data: Dataset,
}

fn pgd() -> Method {
    let step = "4/255".parse().unwrap();
    Method::Pgd { step, steps: 10, restarts: 1, loss: PgdLoss::Ce, momentum: 0.0 }
}

/// A deceiver, and images with the labels that it gives them one by one.
fn case(trick: Trick) -> Case {
    let bytes = model(trick).to_bytes();
    let classifier = Classifier::from_bytes(Path::new("deceiver.onnx"), bytes).unwrap();
    let request = Request::new(Split::Test).limit(N);
    let data = Dataset::open(Path::new("synthetic:4x3x8x8"), &request).unwrap();
    let mut case = Case { classifier, data };
    case.label();
    case
}

impl Case {
    fn plan(methods: Vec<Method>) -> Plan {
        Plan {
            norm: Norm::Linf,
            eps: vec![EPS.parse().unwrap()],
            methods,
            seed: 0,
            early_stop: true,
            batch: 8,
            keep: Keep::First(0),
            until: None,
            rows: 0..N,
            smoothing: None,
        }
    }

    fn audit(&self, methods: Vec<Method>) -> (Measured, String) {
        self.audit_as(&Self::plan(methods))
    }

    fn audit_as(&self, plan: &Plan) -> (Measured, String) {
        let graphs = Graphs::build(&self.classifier, plan.heads(CLASSES)).unwrap();
        let options = SessionOptions { threads: 2, batch: plan.batch };
        let mut attackers = Attacker::several(&self.classifier, &graphs, &options, N).unwrap();
        let measured = measure(&mut attackers, &self.data, plan, &Watch::default()).unwrap();
        let found = warnings(&self.classifier, &self.data, plan, &measured).join("\n");
        (measured, found)
    }

    fn pgd(&self) -> (Measured, String) {
        self.audit(vec![pgd()])
    }

    /// What gradients say, and what random search does, are both told: the warnings have these names,
    /// and the robust accuracy is not above what random search finds alone.
    fn is_found_out(&self, names: &[&str]) {
        let (measured, found) = self.pgd();
        for name in names {
            let worth = &measured.findings;
            assert!(found.contains(&format!("{name}: ")), "{name}: {found} {worth:?}");
        }
        let (search, _) = self.audit(vec![Method::square()]);
        let (reported, truth) = (measured.robust, search.robust);
        assert!(truth.correct < N, "{truth:?}");
        assert!(reported.correct <= truth.correct, "{reported} {truth}");
    }

    /// The same images, each pixel where the zigzag rises.
    fn on_rising_slopes(mut self) -> Self {
        let images =
            self.data.batch(0..N).mapv(|v| ((v * 60.0).floor() + 2.0) / 64.0 + 1.0 / 256.0);
        self.data.pixels = Pixels::Floats(images);
        self.label();
        self
    }

    /// Gives every image the label that the model gives it alone.
    fn label(&mut self) {
        let graphs = Graphs::default();
        let mut one = Attacker::new(&self.classifier, &graphs, 1).unwrap();
        let logits = one.logits(&self.data.batch(0..N).view()).unwrap();
        self.data.labels = logits.rows().into_iter().map(|row| prediction(&row)).collect();
    }
}

#[test]
fn without_a_trick_nothing_is_found() {
    let (measured, found) = case(Trick::None).pgd();
    assert!(!measured.findings.is_masked(), "{:?}", measured.findings);
    assert!(!found.contains("masked") && !found.contains("saturated"), "{found}");
    assert_eq!(measured.stages.len(), 1);
}

#[test]
fn saturated_logits_neither_hide_nor_go_unsaid() {
    case(Trick::Saturated).is_found_out(&["saturated-logits"]);
}

#[test]
fn quantised_activations_are_found_out() {
    let case = case(Trick::Quantised);
    case.is_found_out(&["blind-gradients", "steps-do-not-help", "survives-any-eps"]);
}

#[test]
fn a_shattered_first_layer_is_found_out() {
    case(Trick::Shattered).is_found_out(&["steps-do-not-help", "black-box-beats-gradient"]);
}

#[test]
fn a_gradient_that_is_right_only_at_the_image_is_found_out() {
    let case = case(Trick::Shattered).on_rising_slopes();
    case.is_found_out(&["one-step-beats-many"]);
}

#[test]
fn random_outputs_are_found_out() {
    let case = case(Trick::Random);
    case.is_found_out(&["random-outputs"]);
    let (measured, _) = case.pgd();
    assert_eq!(measured.findings.by_batch, 0);
    assert_eq!(measured.stages.last().map(|stage| stage.method.name()), Some("square"));
}

#[test]
fn noise_is_found_out_beside_a_constant_that_dwarfs_it() {
    let (measured, found) = case(Trick::RandomOnTop).pgd();
    assert!(found.contains("random-outputs: "), "{found}");
    assert!(measured.findings.random > measured.findings.n / 2, "{:?}", measured.findings);
}

#[test]
fn answers_that_are_all_but_hard_are_found_out() {
    case(Trick::Hard).is_found_out(&["hard-outputs"]);
    let (measured, _) = case(Trick::Hard).pgd();
    assert_eq!(measured.stages.last().map(|stage| stage.method.name()), Some("square"));
}

#[test]
fn an_answer_by_the_number_of_images_is_found_out() {
    let case = case(Trick::TurnedAlone);
    for batch in [1, 2, 8] {
        let plan = Plan { batch, ..Case::plan(vec![pgd()]) };
        let (measured, found) = case.audit_as(&plan);
        assert_eq!(measured.findings.by_batch, measured.findings.n, "batches of {batch}");
        assert!(found.contains("batch-dependence: ") && found.contains("one by one"), "{found}");
        // The labels are those of images alone.
        assert_eq!(measured.clean.correct, N, "batches of {batch}");
    }
}

#[test]
fn an_answer_by_the_batch_is_found_out_and_asked_for_alone() {
    let case = case(Trick::FirstOfBatch);
    let (measured, found) = case.audit(vec![Method::square()]);
    assert!(found.contains("batch-dependence: ") && found.contains("one by one"), "{found}");
    assert!(measured.findings.by_batch > 0 && measured.findings.gradient.is_none());
    // Alone, the model is the one without a trick, and as robust.
    let (truth, _) = self::case(Trick::None).audit(vec![Method::square()]);
    assert_eq!(measured.clean.correct, N);
    assert!(truth.robust.correct < N, "{}", truth.robust);
    assert_eq!(measured.robust, truth.robust);
}

#[test]
fn one_by_one_is_a_batch_of_one() {
    let case = case(Trick::MeanOfBatch);
    let graphs = Graphs::default();
    let mut one = Attacker::new(&case.classifier, &graphs, 1).unwrap();
    let alone = one.logits(&case.data.batch(0..N).view()).unwrap();
    // Also where one image at a time is asked about from the beginning, and so nothing else seen.
    for batch in [8, 1] {
        let (measured, found) = case.audit_as(&Plan {
            batch,
            eps: vec!["64/255".parse().unwrap()],
            keep: Keep::First(N),
            ..Case::plan(vec![Method::Square { queries: 200, restarts: 1 }])
        });
        assert!(found.contains("batch-dependence: "), "batches of {batch}: {found}");
        assert_eq!(measured.findings.by_batch, measured.findings.n);
        assert_eq!(measured.logits, alone, "batches of {batch}");
        let broken: Vec<_> = measured.fates.iter().filter(|fate| fate.stage.is_some()).collect();
        assert!(!broken.is_empty());
        let [c, h, w] = INPUT;
        for outcome in broken.into_iter().map(|fate| &fate.outcome) {
            let image = Array4::from_shape_vec((1, c, h, w), outcome.image.clone()).unwrap();
            let logits = one.logits(&image.view()).unwrap();
            assert_eq!(prediction(&logits.row(0)), outcome.prediction, "{}", outcome.index);
        }
    }
}

#[test]
fn a_softmax_that_rounds_to_one_is_not_taken_for_a_gradient_that_misleads() {
    // So near that the most sure of the answers round to 1 before and after the steps.
    let step = "1/255".parse().unwrap();
    let pgd = Method::Pgd { step, steps: 10, restarts: 1, loss: PgdLoss::Ce, momentum: 0.0 };
    let plan = Plan { eps: vec!["2/255".parse().unwrap()], ..Case::plan(vec![pgd]) };
    for (times, is_last) in [(100, true), (1000, true), (40, false)] {
        let (measured, found) = case(Trick::Softmax { times, is_last }).audit_as(&plan);
        let is_sure = |row: &ArrayView1<f32>| row.iter().any(|p| *p == 1.0);
        let sure = measured.logits.rows().into_iter().filter(is_sure).count();
        assert!(times < 100 || sure > N / 2, "{sure} of the test's answers are sure");
        assert!(found.contains("probabilities: "), "{found}");
        assert!(!found.contains("steps-do-not-help"), "{found} {:?}", measured.findings);
        if is_last {
            assert!(!measured.findings.is_masked(), "{:?}", measured.findings);
            assert_eq!(measured.stages.len(), 1, "no search is called for");
        }
        assert!(times < 1000 || found.contains("saturated-logits: "), "{found}");
    }
}

#[test]
fn where_nothing_may_change_nothing_is_searched() {
    for (trick, is_masked) in [(Trick::None, false), (Trick::Quantised, true)] {
        let plan = Plan {
            eps: vec!["0".parse().unwrap()],
            ..Case::plan(vec![Method::ApgdCe { iterations: 2, restarts: 1 }])
        };
        let (measured, found) = case(trick).audit_as(&plan);
        assert_eq!(measured.findings.is_masked(), is_masked, "{:?}", measured.findings);
        assert_eq!(found.contains("steps-do-not-help"), is_masked, "{found}");
        assert_eq!((measured.robust, measured.stages.len()), (measured.clean, 1));
    }
}
