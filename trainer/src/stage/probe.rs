//! A few images with the logits that an exported model is held against.

use ndarray::Array2;
use rift_models::artifact::{Digest, Probe};
use rift_models::dataset::Dataset;

use crate::network::{Mode, Network, TorchError, to_tensor, to_vec};

/// Images in a probe.
const IMAGES: usize = 32;

/// The first images of `images`, at most 32, with the network's logits in evaluation mode and `f32`;
/// `checkpoint` is the digest of the file that holds the network.
///
/// # Errors
/// If libtorch fails.
pub fn probe(
    network: &Network,
    checkpoint: &Digest,
    images: &Dataset,
) -> Result<Probe, TorchError> {
    let n = images.len().min(IMAGES);
    let pixels = images.batch(0..n);
    let on_device = to_tensor(&pixels.clone().into_dyn(), network.device())?;
    let network = network.exact()?;
    let logits = to_vec(&tch::no_grad(|| network.forward(&on_device, Mode::Eval))?)?;
    let classes = network.graph().classes;
    Ok(Probe {
        images: pixels,
        labels: images.labels[..n].to_vec(),
        logits: Array2::from_shape_fn((n, classes), |(row, class)| logits[row * classes + class]),
        checkpoint: checkpoint.clone(),
    })
}
