//! Stochastic gradient descent with momentum, whose state can be saved and restored exactly.

use std::collections::BTreeMap;

use rift_models::arch::Role;
use rift_models::artifact::TensorMap;
use tch::Tensor;

use crate::network::{Network, TorchError, to_array, to_tensor};

/// What does not change while training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// How much of the last direction is kept.
    pub momentum: f64,
    /// Whether to look ahead along the momentum (Nesterov).
    pub nesterov: bool,
    /// `λ` of the penalty `λ/2 ‖θ‖²`.
    pub weight_decay: f64,
    /// Whether the penalty also falls on scale and shift of batch normalisation.
    pub decay_batch_norm: bool,
}

/// The optimiser, with PyTorch's rule:
///
/// ```text
/// g ← ∇ + λ θ
/// v ← μ v + g          (v ← g at first)
/// θ ← θ − lr v         (θ ← θ − lr (g + μ v) with Nesterov)
/// ```
#[derive(Debug)]
pub struct Sgd {
    settings: SgdSettings,
    velocity: BTreeMap<String, Tensor>,
}

impl Sgd {
    /// An optimiser that has seen nothing.
    pub fn new(settings: SgdSettings) -> Self {
        Self { settings, velocity: BTreeMap::new() }
    }

    /// Moves every parameter of `network` that trains down the gradient of `loss`.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn step(&mut self, network: &Network, loss: &Tensor, rate: f64) -> Result<(), TorchError> {
        let tensors: Vec<&Tensor> = network.trained().map(|(_, tensor)| tensor).collect();
        let gradients = Tensor::f_run_backward(&[loss], &tensors, false, false)?;
        self.follow(network, &gradients, rate)
    }

    /// Moves every parameter of `network` that trains down its gradient; they come in the order of
    /// [`Network::trained`].
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn follow(
        &mut self,
        network: &Network,
        gradients: &[Tensor],
        rate: f64,
    ) -> Result<(), TorchError> {
        tch::no_grad(|| {
            for ((parameter, tensor), gradient) in network.trained().zip(gradients) {
                let norm = matches!(parameter.spec.role, Role::Scale | Role::Shift);
                let decays = self.settings.decay_batch_norm || !norm;
                let decay = if decays { self.settings.weight_decay } else { 0.0 };
                let mut direction = self.direction(&parameter.name, tensor, gradient, decay)?;
                let change = direction.f_mul_scalar_(rate)?;
                let _ = tensor.shallow_clone().f_sub_(&change)?;
            }
            Ok(())
        })
    }

    /// The direction to go against, in a tensor that may be overwritten. The gradient may not: it
    /// can be a view that others share.
    fn direction(
        &mut self,
        name: &str,
        tensor: &Tensor,
        gradient: &Tensor,
        decay: f64,
    ) -> Result<Tensor, TorchError> {
        let mut gradient = tensor.f_mul_scalar(decay)?.f_add_(gradient)?;
        let SgdSettings { momentum, nesterov, .. } = self.settings;
        if momentum == 0.0 {
            return Ok(gradient);
        }
        if let Some(velocity) = self.velocity.get_mut(name) {
            let _ = velocity.f_mul_scalar_(momentum)?.f_add_(&gradient)?;
        } else {
            self.velocity.insert(name.to_owned(), gradient.f_mul_scalar(1.0)?);
        }
        let velocity = &self.velocity[name];
        if nesterov {
            Ok(gradient.f_add_(&velocity.f_mul_scalar(momentum)?)?)
        } else {
            Ok(gradient.f_copy_(velocity).map(|()| gradient)?)
        }
    }

    /// The velocities by parameter, for [`restore`](Self::restore).
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn state(&self) -> Result<TensorMap, TorchError> {
        self.velocity.iter().map(|(name, v)| Ok((name.clone(), to_array(v)?))).collect()
    }

    /// Goes on from the velocities that [`state`](Self::state) gave.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn restore(&mut self, state: &TensorMap, network: &Network) -> Result<(), TorchError> {
        let restored = state
            .iter()
            .map(|(name, values)| Ok((name.clone(), to_tensor(values, network.device())?)));
        self.velocity = restored.collect::<Result<_, TorchError>>()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rift_models::arch::ArchSpec;
    use tch::{Device, Kind};

    use super::*;
    use crate::network::device;

    fn network() -> Network {
        device::set_threads(Some(1));
        let graph = ArchSpec::new("resnet8", [1, 8, 8], 2).build().unwrap();
        let network = Network::initialise(graph, 0, Device::Cpu).unwrap();
        network.train_modules(&["linear"]).unwrap();
        network
    }

    /// A loss with the gradient `slope` for every trained value.
    fn loss(network: &Network, slope: f64) -> Tensor {
        network.trained().map(|(_, tensor)| tensor.sum(Kind::Float) * slope).sum()
    }

    fn bias(network: &Network) -> f64 {
        network.tensor("linear.bias").unwrap().double_value(&[0])
    }

    /// PyTorch's rule, by hand.
    fn by_hand(settings: SgdSettings, start: f64, slopes: &[f64], rate: f64) -> f64 {
        let (mut value, mut velocity) = (start, None);
        for slope in slopes {
            let gradient = slope + settings.weight_decay * value;
            let moved = velocity.map_or(gradient, |v: f64| settings.momentum * v + gradient);
            velocity = Some(moved);
            value -=
                rate * if settings.nesterov { gradient + settings.momentum * moved } else { moved };
        }
        value
    }

    #[test]
    fn follows_pytorchs_rule() {
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let settings =
                SgdSettings { momentum, nesterov, weight_decay: 0.05, decay_batch_norm: true };
            let (network, mut sgd) = (network(), Sgd::new(settings));
            let start = bias(&network);
            let slopes = [1.0, -2.0, 0.5];
            for slope in slopes {
                sgd.step(&network, &loss(&network, slope), 0.1).unwrap();
            }
            let expected = by_hand(settings, start, &slopes, 0.1);
            assert!((bias(&network) - expected).abs() < 1e-6, "{settings:?}");
        }
    }

    #[test]
    fn moves_nothing_but_what_trains_and_decays_nothing_but_weights() {
        let network = network();
        let before = network.state().unwrap();
        let settings = SgdSettings {
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.1,
            decay_batch_norm: false,
        };
        Sgd::new(settings).step(&network, &loss(&network, 1.0), 0.1).unwrap();
        let after = network.state().unwrap();
        let moved: Vec<_> = before.keys().filter(|name| before[*name] != after[*name]).collect();
        assert_eq!(moved, ["linear.bias", "linear.weight"]);
        network.train_where(|p| p.name.starts_with("bn1.")).unwrap();
        Sgd::new(settings).step(&network, &loss(&network, 0.0), 0.1).unwrap();
        assert_eq!(network.state().unwrap()["bn1.weight"], before["bn1.weight"]);
    }

    #[test]
    fn goes_on_from_its_state_bit_for_bit() {
        let settings = SgdSettings {
            momentum: 0.9,
            nesterov: true,
            weight_decay: 1e-3,
            decay_batch_norm: true,
        };
        let (network, mut sgd) = (network(), Sgd::new(settings));
        sgd.step(&network, &loss(&network, 0.3), 0.1).unwrap();
        let other = network.copy().unwrap();
        other.train_modules(&["linear"]).unwrap();
        let mut resumed = Sgd::new(settings);
        resumed.restore(&sgd.state().unwrap(), &other).unwrap();
        sgd.step(&network, &loss(&network, 0.7), 0.1).unwrap();
        resumed.step(&other, &loss(&other, 0.7), 0.1).unwrap();
        assert_eq!(network.state().unwrap(), other.state().unwrap());
    }
}
