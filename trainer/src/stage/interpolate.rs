//! The way from the robust weights to the fine-tuned ones, and the point on it that is kept.
//!
//! # References
//! Robust Critical Fine-Tuning, arXiv 2308.02533, section 3.3.

use std::fmt;
use std::str::FromStr;

use ndarray::Zip;
use rift_models::arch::Graph;
use rift_models::artifact::{PairedTest, SweepPoint, TensorMap, sweep};
use rift_models::threat::AttackSpec;

use super::{Evaluation, Plan, evaluate};
use crate::data::ImageSet;
use crate::network::{Network, NetworkError};
use crate::record::Progress;

/// Shares of the fine-tuned weights, rising, each once, from 0 on; 0 is always among them. Beyond 1
/// they extrapolate, which has to be asked for.
///
/// ```
/// use rift_trainer::stage::interpolate::Alphas;
/// let alphas: Alphas = "0,0.25..1".parse()?;
/// assert_eq!(alphas.values(), [0.0, 0.25, 0.5, 0.75, 1.0]);
/// assert_eq!("0.6,0.3".parse::<Alphas>()?.values(), [0.0, 0.3, 0.6]);
/// assert!("0,0.5..2".parse::<Alphas>().is_err());
/// # Ok::<(), rift_trainer::stage::interpolate::AlphasError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Alphas(Vec<f64>);

/// A text that names no shares.
#[derive(Debug, thiserror::Error)]
pub enum AlphasError {
    /// No list of shares.
    #[error(
        "invalid alphas `{text}`, expected numbers from 0 to {largest}, such as `0,0.5,1` or, in equal steps, `0,0.1..1`"
    )]
    Text {
        /// The text.
        text: String,
        /// The largest share that may be.
        largest: f64,
    },
    /// Beyond the fine-tuned weights, without having been asked to.
    #[error("alphas `{0}` go beyond 1, which needs `--extrapolate`")]
    Beyond(String),
    /// Not beyond the fine-tuned weights, although that was asked for.
    #[error(
        "`--extrapolate` expects `--alphas` that go beyond 1, such as `0,0.1..1.3`, found `{0}`"
    )]
    Within(String),
}

/// So far beyond the fine-tuned weights that nothing there is of use.
const LARGEST: f64 = 2.0;

/// More points than this are a slip of the pen.
const MOST: f64 = 1000.0;

impl Alphas {
    /// The paper's: 0, 0.1 … 1.
    pub fn paper() -> Self {
        Self::of((0..=10).map(f64::from).map(|tenth| tenth / 10.0).collect())
    }

    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Reads shares that go beyond 1, up to 2.
    ///
    /// # Errors
    /// If the text names no shares, or none beyond 1.
    pub fn extrapolating(text: &str) -> Result<Self, AlphasError> {
        let alphas = Self::up_to(LARGEST, text)?;
        if alphas.largest() > 1.0 { Ok(alphas) } else { Err(AlphasError::Within(text.to_owned())) }
    }

    /// Reads shares up to 2; the error speaks of `largest`.
    fn up_to(largest: f64, text: &str) -> Result<Self, AlphasError> {
        let invalid = || AlphasError::Text { text: text.to_owned(), largest };
        let values = listed(text).ok_or_else(invalid)?;
        if values.iter().all(|value| (0.0..=LARGEST).contains(value)) {
            Ok(Self::of(values))
        } else {
            Err(invalid())
        }
    }

    fn largest(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0).max(1.0)
    }

    fn of(mut values: Vec<f64>) -> Self {
        values.push(0.0);
        values.sort_by(f64::total_cmp);
        values.dedup_by(|a, b| same(*a, *b));
        Self(values)
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Nine digits: 0.3, not 0.30000000000000004.
fn rounded(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

/// The numbers of a list whose last may stand for equal steps.
fn listed(text: &str) -> Option<Vec<f64>> {
    let (listed, last) = match text.split_once("..") {
        Some((listed, last)) => (listed, Some(last.trim().parse::<f64>().ok()?)),
        None => (text, None),
    };
    let mut values = listed
        .split(',')
        .map(|value| value.trim().parse::<f64>().ok())
        .collect::<Option<Vec<_>>>()?;
    if let Some(last) = last {
        let [.., first, second] = values[..] else { return None };
        let step = second - first;
        let steps = (last - first) / step;
        if !(step > 0.0 && (1.0..=MOST).contains(&steps)) {
            return None;
        }
        let more = (2..=(steps + 1e-9) as usize).map(|i| rounded(first + step * i as f64));
        values.extend(more.collect::<Vec<_>>());
    }
    Some(values)
}

impl FromStr for Alphas {
    type Err = AlphasError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alphas = Self::up_to(1.0, text)?;
        if alphas.largest() > 1.0 {
            return Err(AlphasError::Beyond(text.to_owned()));
        }
        Ok(alphas)
    }
}

impl fmt::Display for Alphas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(f64::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

/// How the way is searched.
#[derive(Clone, Debug)]
pub struct SweepSettings {
    /// The points.
    pub alphas: Alphas,
    /// The distance of two more points from the best one; none for 0.
    pub refine: f64,
    /// How far the robust accuracy may fall below that at 0, a fraction.
    pub tolerance: f64,
    /// The attack under which robust accuracy is measured.
    pub threat: AttackSpec,
    /// Images in a batch; the verdicts do not depend on it.
    pub batch: usize,
}

/// The way, searched.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The points by rising share.
    pub points: Vec<SweepPoint>,
    /// The share that was chosen.
    pub chosen: f64,
    /// The weights and statistics there.
    pub state: TensorMap,
}

/// A way that cannot be gone.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The two ends do not belong to one network, or libtorch failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// `θ = (1 − α) θ_from + α θ_to`, for weights and running statistics alike.
///
/// The arithmetic is in `f64`, so that what both ends agree on stays as it is, bit for bit. A variance
/// that would fall below 0 beyond the fine-tuned end is 0.
pub fn blend(from: &TensorMap, to: &TensorMap, alpha: f64) -> TensorMap {
    let between = |a: f32, b: f32| ((1.0 - alpha) * f64::from(a) + alpha * f64::from(b)) as f32;
    from.iter()
        .filter_map(|(name, a)| {
            let b = to.get(name).filter(|b| b.shape() == a.shape())?;
            let floor = if name.ends_with(".running_var") { 0.0 } else { f32::NEG_INFINITY };
            let blended = Zip::from(a).and(b).map_collect(|a, b| between(*a, *b).max(floor));
            Some((name.clone(), blended))
        })
        .collect()
}

/// The modules of which weight or bias differ between two sets of weights, in network order.
pub fn moved(graph: &Graph, from: &TensorMap, to: &TensorMap) -> Vec<String> {
    let differs = |name: &str| {
        let tensors = ["weight", "bias"].map(|suffix| format!("{name}.{suffix}"));
        tensors.iter().any(|tensor| from.get(tensor) != to.get(tensor))
    };
    graph.modules().filter(|name| differs(name)).map(str::to_owned).collect()
}

/// Judges every point of the way from `network` to the weights `to` on the images of `validation`,
/// chooses one, and looks beside it.
///
/// # Errors
/// If `to` does not fit the network or libtorch fails.
pub fn interpolate(
    network: &Network,
    to: &TensorMap,
    validation: &ImageSet,
    settings: &SweepSettings,
    progress: &Progress,
) -> Result<Sweep, SweepError> {
    let working = network.copy().map_err(NetworkError::from)?;
    working.set_state(to)?;
    let mut way = Way {
        from: network.state().map_err(NetworkError::from)?,
        to,
        network: working,
        validation,
        settings,
        progress,
        start: None,
        points: Vec::new(),
    };
    for alpha in settings.alphas.values() {
        way.visit(*alpha)?;
    }
    let chosen = way.chosen();
    for alpha in [chosen - settings.refine, chosen + settings.refine].map(rounded) {
        if (0.0..=settings.alphas.largest()).contains(&alpha) {
            way.visit(alpha)?;
        }
    }
    let chosen = way.chosen();
    Ok(Sweep { chosen, state: blend(&way.from, to, chosen), points: way.points })
}

/// A search under way.
struct Way<'a> {
    from: TensorMap,
    to: &'a TensorMap,
    /// A copy that takes the weights of one point after the other.
    network: Network,
    validation: &'a ImageSet,
    settings: &'a SweepSettings,
    progress: &'a Progress,
    /// The verdicts at 0.
    start: Option<Evaluation>,
    points: Vec<SweepPoint>,
}

impl Way<'_> {
    /// Judges a point, unless that was done before; the first one is 0.
    fn visit(&mut self, alpha: f64) -> Result<(), SweepError> {
        if self.points.iter().any(|point| same(point.alpha, alpha)) {
            return Ok(());
        }
        self.progress.say(format!("alpha {alpha}"));
        self.network.set_state(&blend(&self.from, self.to, alpha))?;
        let plan = Plan {
            batch: self.settings.batch,
            attack: Some(&self.settings.threat),
            ..Plan::clean()
        };
        let found = evaluate(&self.network, self.validation, &plan, self.progress)
            .map_err(NetworkError::from)?;
        let start = self.start.as_ref().unwrap_or(&found);
        self.points.push(SweepPoint {
            alpha,
            clean: found.clean_accuracy(),
            robust: found.robust_accuracy(),
            clean_test: PairedTest::new(&start.clean, &found.clean),
            robust_test: PairedTest::new(&start.robust, &found.robust),
        });
        self.start.get_or_insert(found);
        self.points.sort_by(|a, b| a.alpha.total_cmp(&b.alpha));
        Ok(())
    }

    fn chosen(&self) -> f64 {
        sweep::choose(&self.points, self.settings.tolerance).map_or(0.0, |point| point.alpha)
    }
}

#[cfg(test)]
mod tests {
    use rift_models::arch::ArchSpec;
    use tch::Device;

    use super::*;
    use crate::attack::pgd::predictions;
    use crate::network::{Mode, to_vec};
    use crate::stage::fixture;

    const INPUT: [usize; 3] = [3, 12, 12];

    fn network(seed: u64) -> Network {
        let graph = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", INPUT, 4) };
        Network::initialise(graph.build().unwrap(), seed, Device::Cpu).unwrap()
    }

    fn settings(alphas: &str, tolerance: f64) -> SweepSettings {
        let threat = AttackSpec { steps: 2, ..AttackSpec::paper() };
        let alphas = alphas.parse().unwrap();
        SweepSettings { alphas, refine: 0.05, tolerance, threat, batch: 20 }
    }

    #[test]
    fn both_ends_are_reached_bit_for_bit() {
        let [from, to] = [1, 2].map(|seed| network(seed).state().unwrap());
        assert_eq!(blend(&from, &to, 0.0), from);
        assert_eq!(blend(&from, &to, 1.0), to);
        for alpha in [0.1, 0.35, 0.7] {
            assert_eq!(blend(&from, &from, alpha), from, "what agrees stays");
        }
        let half = blend(&from, &to, 0.5);
        let name = "layer1.0.conv1.weight";
        let expected = (&from[name] + &to[name]) * 0.5;
        assert!(half[name].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(half.len(), from.len());
    }

    #[test]
    fn names_the_modules_that_moved() {
        let network = network(1);
        let from = network.state().unwrap();
        let mut to = from.clone();
        to.get_mut("linear.bias").unwrap()[[0]] += 1.0;
        to.get_mut("layer1.0.conv2.weight").unwrap()[[0, 0, 0, 0]] += 1.0;
        to.get_mut("bn1.running_mean").unwrap()[[0]] += 1.0;
        assert_eq!(moved(network.graph(), &from, &to), ["layer1.0.conv2", "linear"]);
    }

    #[test]
    fn judges_the_ends_as_they_are_and_looks_beside_the_best() {
        let ends = [network(1), network(2)];
        let to = ends[1].state().unwrap();
        let images = fixture::images(40, INPUT, 4);
        let settings = settings("0,0.5,1", 1.0);
        let bar = Progress::hidden();
        let found = interpolate(&ends[0], &to, &images, &settings, &bar).unwrap();
        let plan = Plan { attack: Some(&settings.threat), ..Plan::clean() };
        let start = evaluate(&ends[0], &images, &plan, &bar).unwrap();
        for (alpha, network) in [(0.0, &ends[0]), (1.0, &ends[1])] {
            let point = found.points.iter().find(|point| point.alpha == alpha).unwrap();
            let alone = evaluate(network, &images, &plan, &bar).unwrap();
            assert_eq!(point.clean, alone.clean_accuracy());
            assert_eq!(point.robust, alone.robust_accuracy());
            assert_eq!(point.robust_test, PairedTest::new(&start.robust, &alone.robust));
        }
        let alphas: Vec<f64> = found.points.iter().map(|point| point.alpha).collect();
        assert!(alphas.is_sorted() && (4..=5).contains(&alphas.len()), "{alphas:?}");
        // With any loss of robustness allowed, the best clean accuracy wins.
        let best = found.points.iter().map(|point| point.clean.correct).max().unwrap();
        let chosen = found.points.iter().find(|point| point.alpha == found.chosen).unwrap();
        assert_eq!(chosen.clean.correct, best);
        assert_eq!(found.state, blend(&ends[0].state().unwrap(), &to, found.chosen));
        assert_eq!(ends[0].state().unwrap(), network(1).state().unwrap());
    }

    #[test]
    fn reads_lists_and_equal_steps() {
        let alphas = |text: &str| text.parse::<Alphas>().unwrap().values().to_vec();
        assert_eq!(alphas("0,0.1..1"), Alphas::paper().values());
        assert_eq!(alphas("0.7, 0.2,0.2"), [0.0, 0.2, 0.7]);
        assert_eq!(alphas("0.1,0.4..0.9"), [0.0, 0.1, 0.4, 0.7]);
        assert_eq!("0,0.5,1".parse::<Alphas>().unwrap().to_string(), "0,0.5,1");
        for text in ["", "x", "-0.1", "0..1", "0,0..1", "1,0.5..0", "0,1e-9..1", "nan", "2.1"] {
            assert!(text.parse::<Alphas>().is_err(), "{text}");
            assert!(Alphas::extrapolating(text).is_err(), "{text}");
        }
        let beyond = "0,0.5..1.5".parse::<Alphas>().unwrap_err().to_string();
        assert!(beyond.contains("needs `--extrapolate`"), "{beyond}");
        let beyond = Alphas::extrapolating("0,0.5..1.5").unwrap();
        assert_eq!(beyond.values(), [0.0, 0.5, 1.0, 1.5]);
        let within = Alphas::extrapolating("0,0.1..1").unwrap_err().to_string();
        assert!(within.ends_with("such as `0,0.1..1.3`, found `0,0.1..1`"), "{within}");
    }

    #[test]
    fn goes_beyond_the_fine_tuned_end_without_negative_variances() {
        let [from, mut to] = [1, 2].map(|seed| network(seed).state().unwrap());
        to.get_mut("bn1.running_var").unwrap().fill(0.1);
        let far = blend(&from, &to, 1.5);
        assert!(far["bn1.running_var"].iter().all(|variance| *variance == 0.0));
        let name = "layer1.0.conv1.weight";
        let expected = &to[name] * 1.5 - &from[name] * 0.5;
        assert!(far[name].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        // The end is the best there is, so the way beyond it is searched, too.
        let settings = SweepSettings {
            alphas: Alphas::extrapolating("0,1,1.5").unwrap(),
            ..settings("0", 1.0)
        };
        let images = fixture::images(12, INPUT, 4);
        let found = interpolate(&network(1), &to, &images, &settings, &Progress::hidden()).unwrap();
        assert!(found.points.iter().any(|point| point.alpha == 1.5));
        assert!(found.points.iter().all(|point| point.alpha <= 1.5));
    }

    #[test]
    fn stays_at_the_start_where_every_other_point_is_worse() {
        // A network that is right about all images, and one that gives them all another class.
        let start = network(1);
        let batch = fixture::images(40, INPUT, 4).batch(0..40).unwrap();
        let logits = tch::no_grad(|| start.forward(&batch.images, Mode::Eval)).unwrap();
        let labels = predictions(&logits).unwrap();
        let pixels = to_vec(&batch.images).unwrap();
        let mut to = start.state().unwrap();
        to.get_mut("linear.bias").unwrap()[[(labels[0] + 1) % 4]] = 1e6;
        let images = ImageSet::from_floats(&pixels, INPUT, labels, Device::Cpu).unwrap();
        let (settings, bar) = (settings("0,0.5,1", 0.001), Progress::hidden());
        let found = interpolate(&start, &to, &images, &settings, &bar).unwrap();
        assert_eq!(found.points[0].clean.correct, 40);
        assert!(found.points[1..].iter().all(|point| point.clean.correct < 40));
        assert_eq!(found.chosen, 0.0);
        assert_eq!(found.state, start.state().unwrap(), "bit for bit");
    }
}
