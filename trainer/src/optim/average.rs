//! The average of the weights over a training.

use rift_models::artifact::TensorMap;

use crate::network::{Network, NetworkError, TorchError};

/// An exponential moving average of the parameters, as Gowal et al. 2020 and Wang et al. 2023 have
/// it:
///
/// ```text
/// τ_t = min(τ, (1 + t) / (10 + t))          t steps after the warm-up; 0 until then
/// θ̄ ← τ_t θ̄ + (1 − τ_t) θ
/// ```
///
/// Running statistics of batch normalisation are not averaged but copied.
#[derive(Debug)]
pub struct Average {
    decay: f64,
    network: Network,
}

impl Average {
    /// The average before the first step; `decay` is `τ`, how much of it is kept in the end.
    ///
    /// # Errors
    /// If the device has too little memory.
    pub fn new(decay: f64, network: &Network) -> Result<Self, TorchError> {
        Ok(Self { decay, network: network.copy()? })
    }

    /// Takes in the network, so many steps after the warm-up; before it they are negative, and the
    /// average is the network.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn update(&mut self, network: &Network, steps: f64) -> Result<(), TorchError> {
        let kept = if steps < 0.0 { 0.0 } else { self.decay.min((1.0 + steps) / (10.0 + steps)) };
        tch::no_grad(|| {
            for ((parameter, average), (_, live)) in self.network.entries().zip(network.entries()) {
                let mut average = average.shallow_clone();
                if parameter.spec.role.is_trained() && kept > 0.0 {
                    let _ = average
                        .f_mul_scalar_(kept)?
                        .f_add_(&live.f_detach()?.f_mul_scalar(1.0 - kept)?)?;
                } else {
                    average.f_copy_(live)?;
                }
            }
            Ok(())
        })
    }

    /// The average as a network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What [`restore`](Self::restore) goes on from.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn state(&self) -> Result<TensorMap, TorchError> {
        self.network.state()
    }

    /// Goes on from what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// If the tensors are not exactly the network's.
    pub fn restore(&mut self, state: &TensorMap) -> Result<(), NetworkError> {
        self.network.set_state(state)
    }
}

#[cfg(test)]
mod tests {
    use rift_models::arch::ArchSpec;
    use tch::Device;

    use super::*;
    use crate::network::device;

    fn network() -> Network {
        device::set_threads(Some(1));
        let graph = ArchSpec::new("resnet8", [1, 8, 8], 2).build().unwrap();
        Network::initialise(graph, 0, Device::Cpu).unwrap()
    }

    fn set(network: &Network, name: &str, value: f64) {
        let _ = tch::no_grad(|| network.tensor(name).unwrap().shallow_clone().fill_(value));
    }

    fn value(network: &Network, name: &str) -> f64 {
        network.tensor(name).unwrap().double_value(&[0])
    }

    #[test]
    fn follows_the_formula_and_copies_statistics() {
        let network = network();
        let mut average = Average::new(0.3, &network).unwrap();
        let mut expected = 0.0;
        for (step, kept) in
            [(-1.0, 0.0), (0.0, 0.1), (1.0, 2.0 / 11.0), (2.0, 0.25), (3.0, 0.3), (4.0, 0.3)]
        {
            set(&network, "bn1.weight", step);
            set(&network, "bn1.running_mean", -step);
            average.update(&network, step).unwrap();
            expected = kept * expected + (1.0 - kept) * step;
            assert!((value(average.network(), "bn1.weight") - expected).abs() < 1e-5, "{step}");
            assert_eq!(value(average.network(), "bn1.running_mean"), -step);
        }
        assert_eq!(value(&network, "bn1.weight"), 4.0, "the network itself does not change");
    }

    #[test]
    fn goes_on_from_its_state_bit_for_bit() {
        let network = network();
        let mut whole = Average::new(0.9, &network).unwrap();
        set(&network, "linear.weight", 0.3);
        whole.update(&network, 20.0).unwrap();
        let mut resumed = Average::new(0.9, &network).unwrap();
        resumed.restore(&whole.state().unwrap()).unwrap();
        set(&network, "linear.weight", 0.7);
        for average in [&mut whole, &mut resumed] {
            average.update(&network, 21.0).unwrap();
        }
        assert_eq!(whole.state().unwrap(), resumed.state().unwrap());
    }
}
