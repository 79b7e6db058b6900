//! How a network starts.

use std::collections::BTreeMap;

use ndarray::{ArrayD, IxDyn};
use rand::RngExt;

use super::{Graph, Init};
use crate::threat::NoiseKey;

/// Draws every parameter and buffer of `graph` from PyTorch's distributions.
///
/// Each parameter has a stream of its own, keyed by seed and position, so that the first layers
/// of two networks of one family start alike.
pub fn initialise(graph: &Graph, seed: u64) -> BTreeMap<String, ArrayD<f32>> {
    let key = NoiseKey { seed, attack: "init", restart: 0 };
    graph
        .params()
        .enumerate()
        .map(|(index, parameter)| {
            let mut generator = key.generator(index);
            let draw = || match parameter.spec.init {
                Init::Constant(value) => value,
                Init::Uniform { bound } => (2.0 * generator.random::<f32>() - 1.0) * bound,
            };
            let tensor = ArrayD::from_shape_simple_fn(IxDyn(&parameter.spec.shape), draw);
            (parameter.name, tensor)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::ArchSpec;
    use super::*;

    #[test]
    fn has_pytorchs_moments() {
        let graph = ArchSpec::new("resnet18", [3, 32, 32], 10).build().unwrap();
        let tensors = initialise(&graph, 3);
        let weight = &tensors["layer4.1.conv2.weight"];
        // Uniform within 1/sqrt(fan_in) has the variance 1/(3 fan_in).
        let variance = weight.iter().map(|v| v * v).sum::<f32>() / weight.len() as f32;
        let fan_in = (512 * 9) as f32;
        assert!((variance * 3.0 * fan_in - 1.0).abs() < 0.01, "{variance}");
        let bound = 1.0 / fan_in.sqrt();
        assert!(weight.iter().all(|v| v.abs() <= bound));
        assert!(tensors["bn1.weight"].iter().all(|v| *v == 1.0));
        assert!(tensors["bn1.running_mean"].iter().all(|v| *v == 0.0));
        assert_eq!(initialise(&graph, 3), tensors);
        assert_ne!(initialise(&graph, 4)["conv1.weight"], tensors["conv1.weight"]);
    }
}
