//! One step of a training: craft, differentiate, move.

use ndarray::ArrayD;
use rift_models::artifact::TensorMap;
use rift_models::threat::{AttackSpec, NoiseKey};
use tch::{Kind, Tensor};

use crate::attack::Crafting;
use crate::data::Batch;
use crate::network::{Mode, Network, NetworkError, TorchError};
use crate::objective::{Objective, Pair, StepLoss, awp};
use crate::optim::{Average, Sgd, clip};

/// Adversarial weight perturbation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AwpSettings {
    /// The length of a perturbation in lengths of the weight.
    pub gamma: f64,
    /// Epochs before it sets in.
    pub warmup: usize,
}

/// What to do about catastrophic overfitting.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum OnOverfitting {
    /// End the training.
    Stop,
    /// Go on against PGD.
    Pgd,
}

/// A look at how a network that trains against a single step fares against several.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSettings {
    /// Steps between two looks.
    pub every: usize,
    /// The attack of several steps; also that of a training that goes on.
    pub attack: AttackSpec,
    /// What follows.
    pub then: OnOverfitting,
}

/// How far PGD's accuracy may lie below that of the single step, on the same batch.
///
/// With a sound network both are a few points apart; with one that overfits to the single step the
/// latter's is near one and PGD's near zero. Wong et al. compare PGD's accuracy of one epoch with
/// the epoch before, with this same tolerance; within a batch nothing has to be remembered.
const GAP: f64 = 0.2;

/// An average of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AverageSettings {
    /// How much of the average is kept at a step, in the end.
    pub decay: f64,
    /// Epochs before it sets in; 2.5 is in the middle of the third.
    pub warmup: f64,
}

/// All that a step needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSettings {
    /// What is minimised.
    pub objective: Objective,
    /// How images are found; nothing for training on them as they are.
    pub crafting: Option<Crafting>,
    /// Perturbation of the weights.
    pub awp: Option<AwpSettings>,
    /// The longest gradient that is followed.
    pub clip: Option<f64>,
    /// The look at catastrophic overfitting.
    pub probe: Option<ProbeSettings>,
    /// The average of the weights.
    pub average: Option<AverageSettings>,
}

/// Where in the training a step is.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Epochs done.
    pub epoch: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// The learning rate.
    pub rate: f64,
    /// The seed of the noise.
    pub seed: u64,
}

impl Moment {
    /// Steps done in all epochs.
    fn total(&self) -> usize {
        self.epoch * self.steps + self.step
    }
}

/// A step that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The network withstands the single step that it trains against and nothing else.
    #[error(
        "catastrophic overfitting at step {step}: {single:.0} % of a batch withstand the single step, {several:.0} % withstand {attack}; try `--on-overfitting pgd` or a smaller `--step`"
    )]
    Overfitting {
        /// The step of all, from 0.
        step: usize,
        /// Accuracy against the single step, in percent.
        single: f64,
        /// Accuracy against several, in percent.
        several: f64,
        /// The attack of several.
        attack: String,
    },
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

/// What a state calls the averaged weights.
const AVERAGE: &str = "average/";
/// What a state calls a single step that was given up.
const FALLEN_BACK: &str = "fallen_back";

/// Takes steps.
#[derive(Debug)]
pub struct Stepper {
    settings: StepSettings,
    /// Whether the single step was given up for PGD.
    fallen_back: bool,
    average: Option<Average>,
}

impl Stepper {
    /// A stepper at the start of the training of `network`.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn new(settings: StepSettings, network: &Network) -> Result<Self, TorchError> {
        let average = settings.average.map(|average| Average::new(average.decay, network));
        Ok(Self { settings, fallen_back: false, average: average.transpose()? })
    }

    /// What it remembers from step to step, for [`restore`](Self::restore).
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn state(&self) -> Result<TensorMap, TorchError> {
        let average = self.average.as_ref().map(Average::state).transpose()?.unwrap_or_default();
        let mut state: TensorMap = average
            .into_iter()
            .map(|(name, values)| (format!("{AVERAGE}{name}"), values))
            .collect();
        if self.fallen_back {
            state.insert(FALLEN_BACK.to_owned(), ArrayD::ones(vec![1]));
        }
        Ok(state)
    }

    /// Goes on from what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// If the averaged weights are not the network's.
    pub fn restore(&mut self, mut state: TensorMap) -> Result<(), NetworkError> {
        self.fallen_back = state.remove(FALLEN_BACK).is_some();
        if let Some(average) = &mut self.average {
            let own = |(name, values): (String, _)| {
                Some((name.strip_prefix(AVERAGE)?.to_owned(), values))
            };
            average.restore(&state.into_iter().filter_map(own).collect())?;
        }
        Ok(())
    }

    /// What is judged and written as a checkpoint: the average where there is one.
    pub fn shipped<'a>(&'a self, network: &'a Network) -> &'a Network {
        self.average.as_ref().map_or(network, Average::network)
    }

    /// Finds images, takes the gradient on them and moves the network down it.
    ///
    /// # Errors
    /// If libtorch fails, or the network overfits catastrophically and the training is to end then.
    pub fn step(
        &mut self,
        network: &Network,
        sgd: &mut Sgd,
        batch: &Batch,
        moment: Moment,
    ) -> Result<StepLoss, StepError> {
        let adversarial = self.craft(network, batch, moment)?;
        let StepSettings { objective, awp, clip: length, .. } = &self.settings;
        let pair = Pair { clean: &batch.images, adversarial: &adversarial, labels: &batch.labels };
        let loss = |mode| objective.loss(network, &pair, mode);
        let (step, mut gradients) = match awp.filter(|awp| moment.epoch >= awp.warmup) {
            Some(awp) => awp::gradients(network, awp.gamma, loss)?,
            None => awp::plain_gradients(network, loss(Mode::Train)?)?,
        };
        if let Some(length) = length {
            gradients = clip(&gradients, *length)?;
        }
        sgd.follow(network, &gradients, moment.rate)?;
        if let (Some(average), Some(settings)) = (&mut self.average, self.settings.average) {
            let warmup = settings.warmup * moment.steps as f64;
            average.update(network, (moment.total() + 1) as f64 - warmup)?;
        }
        Ok(step)
    }

    /// The images to train on.
    fn craft(
        &mut self,
        network: &Network,
        batch: &Batch,
        moment: Moment,
    ) -> Result<Tensor, StepError> {
        let Some(crafting) = &self.settings.crafting else {
            return Ok(batch.images.shallow_clone());
        };
        let key = NoiseKey { seed: moment.seed, attack: "train", restart: moment.epoch as u32 };
        let Some(probe) = &self.settings.probe else {
            return Ok(crafting.craft(network, batch, &key)?);
        };
        let several = Crafting { spec: probe.attack.clone(), ..crafting.clone() };
        if self.fallen_back {
            return Ok(several.craft(network, batch, &key)?);
        }
        let images = crafting.craft(network, batch, &key)?;
        if !moment.total().is_multiple_of(probe.every) {
            return Ok(images);
        }
        let worse = several.craft(network, batch, &key)?;
        let single = withstand(network, &images, &batch.labels)?;
        let stronger = withstand(network, &worse, &batch.labels)?;
        if single - stronger <= GAP {
            return Ok(images);
        }
        if probe.then == OnOverfitting::Stop {
            return Err(StepError::Overfitting {
                step: moment.total(),
                single: 100.0 * single,
                several: 100.0 * stronger,
                attack: probe.attack.label(),
            });
        }
        tracing::warn!(
            step = moment.total(),
            "catastrophic overfitting: {:.0} % of a batch withstand the single step, {:.0} % \
             withstand {}; the training goes on against that",
            100.0 * single,
            100.0 * stronger,
            probe.attack.label()
        );
        self.fallen_back = true;
        Ok(worse)
    }
}

/// The part of the images that is classified correctly.
fn withstand(network: &Network, images: &Tensor, labels: &Tensor) -> Result<f64, TorchError> {
    let logits = tch::no_grad(|| network.forward(images, Mode::Eval))?;
    let right = logits.f_argmax(1, false)?.f_eq_tensor(labels)?;
    Ok(right.f_to_kind(Kind::Double)?.f_mean(Kind::Double)?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests {
    use rift_models::arch::ArchSpec;
    use rift_models::artifact::TensorMap;
    use tch::Device;

    use super::*;
    use crate::attack::{Aim, CraftMode, InnerLoss, Start};
    use crate::objective::Method;
    use crate::optim::SgdSettings;
    use crate::stage::fixture;

    fn network() -> Network {
        let graph = ArchSpec { width: Some(4), ..ArchSpec::new("resnet8", [3, 8, 8], 4) };
        let network = Network::initialise(graph.build().unwrap(), 1, Device::Cpu).unwrap();
        network.unfreeze().unwrap();
        network
    }

    fn sgd() -> Sgd {
        Sgd::new(SgdSettings {
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            decay_batch_norm: false,
        })
    }

    fn attack(steps: usize) -> AttackSpec {
        AttackSpec { steps, ..AttackSpec::paper() }
    }

    fn settings(method: Method, beta: f64) -> StepSettings {
        StepSettings {
            objective: Objective::new(method, beta),
            crafting: method.is_adversarial().then(|| Crafting::pgd(attack(2))),
            awp: None,
            clip: None,
            probe: None,
            average: None,
        }
    }

    fn moment(total: usize, rate: f64) -> Moment {
        Moment { epoch: total / 10, step: total % 10, steps: 10, rate, seed: 0 }
    }

    /// Takes steps on one batch; the losses before each.
    fn losses(settings: StepSettings, steps: usize) -> Vec<f64> {
        let (network, mut sgd) = (network(), sgd());
        let batch = fixture::images(32, [3, 8, 8], 4).batch(0..32).unwrap();
        let mut stepper = Stepper::new(settings, &network).unwrap();
        let step = |step| {
            let loss = stepper.step(&network, &mut sgd, &batch, moment(step, 0.05)).unwrap();
            loss.loss.double_value(&[])
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn every_method_learns() {
        let awp = Some(AwpSettings { gamma: 0.01, warmup: 0 });
        for (method, beta, awp) in [
            (Method::Standard, 0.0, None),
            (Method::At, 0.0, None),
            (Method::Trades, 6.0, None),
            (Method::Trades, 6.0, awp),
            (Method::Mart, 5.0, None),
            (Method::Mart, 5.0, awp),
            (Method::Score, 0.0, None),
            (Method::Score, 4.0, awp),
            (Method::FastAt, 0.0, None),
        ] {
            let losses = losses(StepSettings { awp, ..settings(method, beta) }, 9);
            assert!(losses[8] < 0.9 * losses[0], "{method} {awp:?}: {losses:?}");
        }
    }

    #[test]
    fn perturbation_sets_in_after_its_epochs() {
        let late = AwpSettings { gamma: 0.05, warmup: 1 };
        let plain = losses(settings(Method::At, 0.0), 12);
        let perturbed = losses(StepSettings { awp: Some(late), ..settings(Method::At, 0.0) }, 12);
        assert_eq!(plain[..10], perturbed[..10]);
        assert!(perturbed[10] > plain[10], "the loss at the worst weights is larger");
    }

    #[test]
    fn a_clipped_gradient_moves_less() {
        let moved = |clip| {
            let (network, mut sgd) = (network(), sgd());
            let batch = fixture::images(8, [3, 8, 8], 4).batch(0..8).unwrap();
            let before = network.state().unwrap();
            let settings = StepSettings { clip, ..settings(Method::Standard, 0.0) };
            let mut stepper = Stepper::new(settings, &network).unwrap();
            stepper.step(&network, &mut sgd, &batch, moment(0, 1.0)).unwrap();
            let parameters = |(name, values): &(&String, &ndarray::ArrayD<f32>)| {
                !name.contains("running") && !values.is_empty()
            };
            let after: TensorMap = network.state().unwrap();
            let square: f32 = before
                .iter()
                .filter(parameters)
                .map(|(name, values)| (&after[name] - values).mapv(|d| d * d).sum())
                .sum();
            square.sqrt()
        };
        assert!((moved(Some(0.01)) - 0.01).abs() < 1e-4, "{}", moved(Some(0.01)));
        assert!((moved(Some(1e6)) - moved(None)).abs() < 1e-5);
    }

    /// A network that knows its images, a "single step" that finds nothing, and a strong probe.
    fn overfitted(then: OnOverfitting) -> (Network, Stepper, Batch) {
        let (network, mut sgd) = (network(), sgd());
        let batch = fixture::images(32, [3, 8, 8], 4).batch(0..32).unwrap();
        let mut stepper = Stepper::new(settings(Method::Standard, 0.0), &network).unwrap();
        for step in 0..30 {
            stepper.step(&network, &mut sgd, &batch, moment(step, 0.05)).unwrap();
        }
        let eps = "64/255".parse().unwrap();
        let strong = AttackSpec { eps, step: "16/255".parse().unwrap(), ..attack(8) };
        let weak = Crafting::pgd(AttackSpec { random_start: false, ..attack(0) });
        let probe = Some(ProbeSettings { every: 5, attack: strong, then });
        let settings =
            StepSettings { crafting: Some(weak), probe, ..settings(Method::FastAt, 0.0) };
        let stepper = Stepper::new(settings, &network).unwrap();
        (network, stepper, batch)
    }

    #[test]
    fn catastrophic_overfitting_is_noticed_at_the_next_look() {
        for then in [OnOverfitting::Stop, OnOverfitting::Pgd] {
            let (network, mut stepper, batch) = overfitted(then);
            let mut step = |step| {
                let result = stepper.step(&network, &mut sgd(), &batch, moment(step, 0.0));
                let fallen = stepper.state().unwrap().contains_key(FALLEN_BACK);
                (result.map(|loss| loss.correct.int64_value(&[])), fallen)
            };
            let (before, fallen) = step(4);
            assert!(before.unwrap() > 28 && !fallen, "between two looks nothing happens");
            match (then, step(5)) {
                (OnOverfitting::Stop, (Err(error), false)) => {
                    let text = error.to_string();
                    assert!(text.contains("overfitting at step 5"), "{text}");
                    assert!(text.contains("pgd-8 linf 64/255"), "{text}");
                }
                (OnOverfitting::Pgd, (Ok(right), true)) => {
                    assert!(right < 16, "{right} withstand the strong attack");
                    let (later, fallen) = step(6);
                    assert!(later.unwrap() < 16 && fallen, "and it stays so");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_average_is_shipped_and_goes_on_from_its_state_bit_for_bit() {
        let (network, mut sgd) = (network(), sgd());
        let batch = fixture::images(8, [3, 8, 8], 4).batch(0..8).unwrap();
        let average = Some(AverageSettings { decay: 0.9, warmup: 0.2 });
        let settings = || StepSettings { average, ..settings(Method::Standard, 0.0) };
        let mut stepper = Stepper::new(settings(), &network).unwrap();
        for (step, same) in [(0, true), (1, false), (2, false)] {
            stepper.step(&network, &mut sgd, &batch, moment(step, 0.05)).unwrap();
            let [live, shipped] = [&network, stepper.shipped(&network)].map(|n| n.state().unwrap());
            assert_eq!(live == shipped, same, "the average sets in at the second step: {step}");
        }
        let mut resumed = Stepper::new(settings(), &network).unwrap();
        resumed.restore(stepper.state().unwrap()).unwrap();
        let (weights, velocity) = (network.state().unwrap(), sgd.state().unwrap());
        let next = |stepper: &mut Stepper| {
            network.set_state(&weights).unwrap();
            let mut sgd = self::sgd();
            sgd.restore(&velocity, &network).unwrap();
            stepper.step(&network, &mut sgd, &batch, moment(3, 0.05)).unwrap();
            stepper.state().unwrap()
        };
        assert_eq!(next(&mut stepper), next(&mut resumed));
        let nothing = Stepper::new(settings(), &network).unwrap().restore(TensorMap::new());
        assert!(nothing.is_err(), "a state without the average is not this training's");
    }

    #[test]
    fn crafting_in_training_mode_moves_no_statistics_and_finds_more_loss_there() {
        let network = network();
        let batch = fixture::images(32, [3, 8, 8], 4).batch(0..32).unwrap();
        let key = NoiseKey { seed: 0, attack: "test", restart: 0 };
        let before = network.state().unwrap();
        let loss = |images: &Tensor| {
            let pair = Pair { clean: &batch.images, adversarial: images, labels: &batch.labels };
            let found = Objective::new(Method::Trades, 1e3).loss(&network, &pair, Mode::Batch);
            found.unwrap().loss.double_value(&[])
        };
        let start = loss(&batch.images);
        for inner in [InnerLoss::Kl, InnerLoss::Squared] {
            let mode = CraftMode::Train;
            let (aim, start_at) = (Aim::Clean, Start::Gaussian);
            let pgd = Crafting::pgd(attack(5));
            let crafting = Crafting { inner, aim, mode, start: start_at, ..pgd };
            let images = crafting.craft(&network, &batch, &key).unwrap();
            assert!(loss(&images) > start + 1.0, "{inner:?}");
        }
        assert_eq!(network.state().unwrap(), before);
    }
}
