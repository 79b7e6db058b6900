//! The networks and images of `tests/peers/formula.py`, and what PyTorch makes of them.
//!
//! Weights come from a closed formula that both sides compute, so that a file of a few kilobytes
//! pins a network of 46 million parameters.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array4, ArrayD, Ix2, IxDyn};
use rift_models::arch::{ArchSpec, Graph};
use rift_models::artifact::{Checkpoint, CheckpointMeta, Lineage, Probe, TensorMap, tensors};

/// The goldens that `tests/peers/goldens.py` writes.
pub const NAMES: [&str; 7] = [
    "resnet20",
    "resnet18",
    "resnet34",
    "resnet18-64",
    "preactresnet18",
    "preactresnet18-fast-at",
    "wrn34-10",
];

/// A network whose weights come from the formula, with PyTorch's answer.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The network with its weights.
    pub checkpoint: Checkpoint,
    /// Images, `N × C × H × W` in pixels.
    pub images: Array4<f32>,
    /// Their classes.
    pub labels: Vec<usize>,
    /// PyTorch's logits, `N × classes`.
    pub logits: ArrayD<f32>,
    /// PyTorch's gradient of the summed cross-entropy with respect to the pixels, as `images`.
    pub gradient: ArrayD<f32>,
}

impl Golden {
    /// Reads the golden `name` and computes the network's weights.
    ///
    /// # Panics
    /// If the file is missing or is no golden.
    pub fn read(name: &str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/parity/goldens");
        let path = Path::new(path).join(format!("{name}.safetensors"));
        let mut file = match tensors::read(&path) {
            Ok(file) => file,
            Err(error) => panic!("{error}"),
        };
        let mut take = |part: &str| match file.tensors.remove(part) {
            Some(tensor) => tensor,
            None => panic!("`{}` has no tensor `{part}`", path.display()),
        };
        let (labels, logits, gradient) = (take("labels"), take("logits"), take("gradient"));
        let labels: Vec<usize> = labels.iter().map(|label| *label as usize).collect();
        let entry = |key: &str| file.metadata.get(key).map(String::as_str).unwrap_or_default();
        let arch: ArchSpec = match serde_json::from_str(entry("arch")) {
            Ok(arch) => arch,
            Err(error) => panic!("`{}` names no architecture: {error}", path.display()),
        };
        let seed = entry("seed").parse().unwrap_or_else(|_| panic!("`{}`: seed", path.display()));
        let graph = match arch.build() {
            Ok(graph) => graph,
            Err(error) => panic!("{error}"),
        };
        let classes = (0..arch.classes).map(|class| format!("class {class}")).collect();
        let images = images(seed, labels.len(), arch.input);
        let meta = CheckpointMeta::new(arch, classes, None, Lineage::default());
        let checkpoint = Checkpoint { meta, tensors: weights(&graph) };
        Self { checkpoint, images, labels, logits, gradient }
    }

    /// Writes the network as `checkpoint.safetensors` into `folder`, and its images with PyTorch's
    /// logits as `probe.safetensors`.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(self, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let checkpoint = self.checkpoint.write(&folder.join("checkpoint.safetensors"))?;
        let (images, labels) = (self.images, self.labels);
        let logits = self.logits.into_dimensionality::<Ix2>()?;
        let probe = Probe { images, labels, logits, checkpoint };
        probe.write(&folder.join("probe.safetensors"))?;
        Ok(())
    }
}

/// Element `index` of a stream of numbers in `[−1, 1)`: a hash (`lowbias32` of Wellons' hash
/// prospector) of both, exactly as `formula.uniform`.
fn uniform(stream: u32, index: usize) -> f64 {
    let mut h = (index as u32).wrapping_add(stream.wrapping_mul(0x9e37_79b9));
    h ^= h >> 16;
    h = h.wrapping_mul(0x7feb_352d);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846c_a68b);
    h ^= h >> 16;
    f64::from(h) / 2f64.powi(31) - 1.0
}

/// The weights of `formula.parameter` for every parameter and buffer of `graph`.
///
/// # Panics
/// If a shape is not that of an array.
pub fn weights(graph: &Graph) -> TensorMap {
    let shapes: BTreeMap<String, Vec<usize>> =
        graph.params().map(|p| (p.name, p.spec.shape)).collect();
    shapes
        .into_iter()
        .enumerate()
        .map(|(index, (name, shape))| {
            let fan_in: usize = shape[1..].iter().product();
            let scale = (6.0 / fan_in as f64).sqrt();
            let value = |u: f64| match name.rsplit('.').next() {
                _ if shape.len() > 1 => u * scale,
                Some("weight") => 1.0 + 0.25 * u,
                Some("running_var") => 1.0 + 0.5 * u,
                _ => 0.1 * u,
            };
            let count: usize = shape.iter().product();
            let values = (0..count).map(|i| value(uniform(index as u32 + 1, i)) as f32).collect();
            let tensor = match ArrayD::from_shape_vec(IxDyn(&shape), values) {
                Ok(tensor) => tensor,
                Err(error) => panic!("{error}"),
            };
            (name, tensor)
        })
        .collect()
}

/// The images of `formula.images`.
pub fn images(seed: u32, count: usize, input: [usize; 3]) -> Array4<f32> {
    let [channels, height, width] = input;
    let stream = (1 << 31) + seed;
    let mut index = 0..;
    Array4::from_shape_simple_fn((count, channels, height, width), || {
        (0.5 + 0.5 * uniform(stream, index.next().unwrap_or_default())) as f32
    })
}

/// `‖a − b‖₂ / ‖b‖₂`, accumulated in `f64`.
///
/// # Panics
/// If the shapes differ.
pub fn relative_error(a: &ArrayD<f32>, b: &ArrayD<f32>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let square = |x: f64| x * x;
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let length: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (apart / length).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_the_one_of_the_peer() {
        // `formula.uniform(1, (3,))` and `formula.images(5, (2,))` in Python.
        let numbers: Vec<f64> = (0..3).map(|i| uniform(1, i)).collect();
        assert_eq!(numbers, UNIFORM);
        let pixels = images(5, 1, [1, 1, 2]);
        assert_eq!(pixels.iter().copied().collect::<Vec<_>>(), PIXELS);
    }

    const UNIFORM: [f64; 3] =
        [-0.984_469_733_200_967_3, 0.244_639_182_463_288_3, -0.940_450_810_827_314_9];
    const PIXELS: [f32; 2] = [0.605_253_8, 0.154_952_4];
}
