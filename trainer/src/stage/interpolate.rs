//! The way from the robust weights to the fine-tuned ones, and the point on it that is kept.
//!
//! # References
//! Robust Critical Fine-Tuning, arXiv 2308.02533, section 3.3.

mod alphas;

use ndarray::Zip;
use rift_models::arch::Graph;
use rift_models::artifact::{PairedTest, SweepPoint, TensorMap, sweep};
use rift_models::threat::AttackSpec;

use super::{Evaluation, Plan, evaluate, not_finite};
use crate::data::ImageSet;
use crate::network::{Network, NetworkError};
use crate::record::Progress;

pub use alphas::{Alphas, AlphasError};
use alphas::{rounded, same};

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
    /// An end that is no network: nothing between it and the other would be.
    #[error("`{tensor}` of the {end} weights holds {value}, expected finite numbers")]
    NotFinite {
        /// Which end.
        end: &'static str,
        /// A tensor of it.
        tensor: String,
        /// The number.
        value: f32,
    },
    /// The two ends do not belong to one network, or libtorch failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// `θ = (1 − α) θ_from + α θ_to`, for weights and running statistics alike.
///
/// At 0 and at 1 it is the end itself, whatever the other one holds. Between them the arithmetic is in
/// `f64`, so that what both ends agree on stays as it is, bit for bit. A variance that would fall
/// below 0 beyond the fine-tuned end is 0.
pub fn blend(from: &TensorMap, to: &TensorMap, alpha: f64) -> TensorMap {
    if alpha == 0.0 {
        return from.clone();
    }
    if alpha == 1.0 {
        return to.clone();
    }
    let between = |a: f32, b: f32| ((1.0 - alpha) * f64::from(a) + alpha * f64::from(b)) as f32;
    from.iter()
        .filter_map(|(name, a)| {
            let b = to.get(name).filter(|b| b.shape() == a.shape())?;
            let floor = if name.ends_with(".running_var") { 0.0 } else { f32::NEG_INFINITY };
            // What is no number stays none, where `max` would make the floor of it.
            let above = |value: f32| if value < floor { floor } else { value };
            let blended = Zip::from(a).and(b).map_collect(|a, b| above(between(*a, *b)));
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
    let from = network.state().map_err(NetworkError::from)?;
    for (end, state) in [("robust", &from), ("fine-tuned", to)] {
        if let Some((tensor, value)) = not_finite(state) {
            return Err(SweepError::NotFinite { end, tensor: tensor.to_owned(), value });
        }
    }
    let mut way = Way {
        from,
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
    fn an_end_beyond_all_numbers_leaves_the_other_as_it_is() {
        let [from, mut to] = [1, 2].map(|seed| network(seed).state().unwrap());
        to.get_mut("bn1.running_var").unwrap().fill(f32::INFINITY);
        assert_eq!(blend(&from, &to, 0.0), from);
        assert_eq!(blend(&to, &from, 1.0), from);
        to.get_mut("bn1.running_var").unwrap().fill(f32::NAN);
        assert!(blend(&from, &to, 0.5)["bn1.running_var"].iter().all(|value| value.is_nan()));
        let images = fixture::images(8, INPUT, 4);
        let (settings, bar) = (settings("0,1", 1.0), Progress::hidden());
        let error = interpolate(&network(1), &to, &images, &settings, &bar).unwrap_err();
        let expected =
            "`bn1.running_var` of the fine-tuned weights holds NaN, expected finite numbers";
        assert_eq!(error.to_string(), expected);
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
