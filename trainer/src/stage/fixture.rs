//! What the tests of several stages start from.

use rand::RngExt;
use rift_models::threat::NoiseKey;
use tch::Device;

use crate::data::ImageSet;
use crate::network::device;

/// Images of `classes` kinds that can be told apart: noise around a pattern of the class. From here
/// on libtorch computes on one thread: such small work only waits for a second one.
pub(crate) fn images(n: usize, input: [usize; 3], classes: usize) -> ImageSet {
    device::set_threads(Some(1));
    let pixels: usize = input.iter().product();
    let pattern = |class: usize| -> Vec<f32> {
        let mut generator = NoiseKey { seed: 0, attack: "pattern", restart: 0 }.generator(class);
        (0..pixels).map(|_| generator.random::<f32>()).collect()
    };
    let patterns: Vec<Vec<f32>> = (0..classes).map(pattern).collect();
    let labels: Vec<usize> = (0..n).map(|index| index % classes).collect();
    let mut floats = Vec::with_capacity(n * pixels);
    for (index, label) in labels.iter().enumerate() {
        let mut generator = NoiseKey { seed: 0, attack: "image", restart: 0 }.generator(index);
        let mixed = patterns[*label].iter().map(|p| 0.2 * p + 0.8 * generator.random::<f32>());
        floats.extend(mixed);
    }
    ImageSet::from_floats(&floats, input, labels, Device::Cpu).unwrap()
}
