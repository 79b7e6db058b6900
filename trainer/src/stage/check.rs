//! Whether a device computes what it should: every quantity that a training is made of, against
//! the same in `f64` on the processor.

use rift_models::arch::Graph;
use rift_models::artifact::TensorMap;
use rift_models::threat::{AttackSpec, NoiseKey};
use serde::Serialize;
use tch::{Device, Kind, Reduction, Tensor};

use crate::attack::Crafting;
use crate::data::Batch;
use crate::network::{
    Mode, Network, NetworkError, Precision, TorchError, cross_entropy, input_gradient,
};
use crate::objective::{Method, Objective, Pair, awp};
use crate::optim::{Sgd, SgdSettings};

/// A quantity, and how far it is from what it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// `‖found − expected‖ / ‖expected‖`.
    pub error: f64,
    /// The largest error that rounding explains.
    pub tolerance: f64,
}

impl Row {
    /// Whether rounding explains the error.
    pub fn is_fine(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// What kind of quantity something is, by which it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// A forward pass.
    Value,
    /// A forward and a backward pass, in which a rectifier may flip.
    Gradient,
    /// The same in training mode, where the statistics of the batch take most of a gradient away.
    BatchGradient,
    /// Ten gradients, one after the other, of which only the signs count.
    Attack,
}

/// The largest relative error of a quantity: a few times what a resnet18 shows on a processor.
fn tolerance(sort: Sort, precision: Precision) -> f64 {
    match (precision, sort) {
        (Precision::Float32, Sort::Value) => 1e-4,
        (Precision::Float32, Sort::Gradient) => 5e-3,
        (Precision::Float32, Sort::BatchGradient) => 5e-2,
        (Precision::Float32 | Precision::Tf32, Sort::Attack) => 2e-2,
        (Precision::Tf32, Sort::Value) => 1e-2,
        (Precision::Tf32, Sort::Gradient) => 1e-1,
        (Precision::Tf32, Sort::BatchGradient) => 2e-1,
        (Precision::Bf16, Sort::Value | Sort::Attack) => 6e-2,
        (Precision::Bf16, Sort::Gradient) => 3e-1,
        // Found 0.56 with 8 images; a gradient that has nothing to do with it would be at 1.4.
        (Precision::Bf16, Sort::BatchGradient) => 8e-1,
    }
}

/// A quantity as found.
struct Figure {
    what: String,
    sort: Sort,
    value: Tensor,
}

/// Checks `device` in `precision` with a network of this graph, on `n` images.
///
/// # Errors
/// If the device has too little memory.
pub fn check(
    graph: &Graph,
    n: usize,
    device: Device,
    precision: Precision,
) -> Result<Vec<Row>, NetworkError> {
    let state = state(graph, n)?;
    let ours = Network::from_tensors(graph.clone(), &state, device)?.with_precision(precision);
    let exact = Network::from_tensors(graph.clone(), &state, Device::Cpu)?.in_double()?;
    let found = figures(&ours, &batch(graph.input, n, device, Kind::Float)?)?;
    let expected = figures(&exact, &batch(graph.input, n, Device::Cpu, Kind::Double)?)?;
    let rows = found.iter().zip(&expected).map(|(found, expected)| {
        let error = distance(&found.value, &expected.value)?;
        let tolerance = tolerance(found.sort, precision);
        Ok(Row { what: found.what.clone(), error, tolerance })
    });
    Ok(rows.collect::<Result<_, TorchError>>()?)
}

/// Weights, and statistics that are not the initial ones: with those, nothing would be folded.
fn state(graph: &Graph, n: usize) -> Result<TensorMap, NetworkError> {
    let network = Network::initialise(graph.clone(), 0, Device::Cpu)?;
    let batch = batch(graph.input, n, Device::Cpu, Kind::Float)?;
    for _ in 0..3 {
        let _ = tch::no_grad(|| network.forward(&batch.images, Mode::Train))?;
    }
    Ok(network.state()?)
}

/// Images of which each is another, the same on every device: waves, each of its own frequency.
/// Noise would not do: all of it looks the same to batch normalisation, which then divides by next
/// to nothing.
fn batch(input: [usize; 3], n: usize, device: Device, kind: Kind) -> Result<Batch, TorchError> {
    let [c, h, w] = input.map(|side| side as i64);
    let n = n as i64;
    let frequencies = Tensor::f_arange(n, (Kind::Double, Device::Cpu))?.f_add_scalar(1.0)?;
    let places = Tensor::f_arange(c * h * w, (Kind::Double, Device::Cpu))?.f_mul_scalar(0.037)?;
    let waves = frequencies.f_view([n, 1])?.f_mul(&places)?.f_sin()?;
    let images = waves.f_mul_scalar(0.5)?.f_add_scalar(0.5)?.f_to_kind(Kind::Float)?;
    let labels = Tensor::f_arange(n, (Kind::Int64, Device::Cpu))?.f_remainder(10)?;
    Ok(Batch {
        images: images.f_view([n, c, h, w])?.f_to_kind(kind)?.f_to_device(device)?,
        labels: labels.f_to_device(device)?,
        indices: (0..n as usize).collect(),
    })
}

/// Everything that a training is made of, computed by `network`.
fn figures(network: &Network, batch: &Batch) -> Result<Vec<Figure>, TorchError> {
    let mut figures = Vec::new();
    let mut add = |what: &str, sort, value| {
        figures.push(Figure { what: what.to_owned(), sort, value });
    };
    let Batch { images, labels, .. } = batch;
    add("logits", Sort::Value, tch::no_grad(|| network.forward(images, Mode::Eval))?);
    add("input gradient", Sort::Gradient, input_gradient(network, images, labels)?.1);
    let trained = network.copy()?;
    add("logits in training", Sort::Value, trained.forward(images, Mode::Train)?);
    let buffers = trained.entries().filter(|(parameter, _)| !parameter.spec.role.is_trained());
    let buffers = flat(buffers.map(|(_, tensor)| tensor.shallow_clone()))?;
    add("running statistics", Sort::Value, buffers);
    trained.unfreeze()?;
    // Somewhere near the images, and without an attack that could go another way.
    let near = images.f_mul_scalar(0.9)?.f_add_scalar(0.05)?;
    let pair = Pair { clean: images, adversarial: &near, labels };
    for method in Method::ALL {
        let objective = Objective::new(method, beta(method));
        let step = objective.loss(&trained, &pair, Mode::Eval)?;
        add(&format!("{method}: loss"), Sort::Value, step.loss.f_detach()?);
        let (_, gradients) = awp::plain_gradients(&trained, step)?;
        add(&format!("{method}: gradient of the parameters"), Sort::Gradient, flat(gradients)?);
    }
    let objective = Objective::new(Method::At, 0.0);
    let (step, gradients) =
        awp::gradients(&trained, 0.01, |_| objective.loss(&trained, &pair, Mode::Eval))?;
    add("at with awp: loss", Sort::Value, step.loss.f_detach()?);
    add("at with awp: gradient of the parameters", Sort::Gradient, flat(gradients)?);
    let moved = descend(&trained, &pair)?;
    add("change of the parameters in two steps of SGD", Sort::BatchGradient, moved);
    add("loss where PGD-10 leads", Sort::Attack, attacked(network, batch)?);
    Ok(figures)
}

/// The papers' weights of the second term.
fn beta(method: Method) -> f64 {
    match method {
        Method::Trades => 6.0,
        Method::Mart => 5.0,
        Method::Score => 4.0,
        Method::Standard | Method::At | Method::FastAt => 0.0,
    }
}

/// What two steps of the optimiser, with all that it knows, do to the parameters.
fn descend(network: &Network, pair: &Pair<'_>) -> Result<Tensor, TorchError> {
    let values = |network: &Network| flat(network.trained().map(|(_, t)| t.shallow_clone()));
    let before = values(network)?;
    let settings =
        SgdSettings { momentum: 0.9, nesterov: true, weight_decay: 5e-4, decay_batch_norm: false };
    let mut sgd = Sgd::new(settings);
    for _ in 0..2 {
        let objective = Objective::new(Method::At, 0.0);
        let step = objective.loss(network, pair, Mode::Batch)?;
        sgd.step(network, &step.loss, 0.01)?;
    }
    Ok(values(network)?.f_sub(&before)?)
}

/// The loss at the images that an attack finds.
fn attacked(network: &Network, batch: &Batch) -> Result<Tensor, TorchError> {
    let key = NoiseKey { seed: 0, attack: "check", restart: 0 };
    let images = Crafting::pgd(AttackSpec::paper()).craft(network, batch, &key)?;
    let logits = tch::no_grad(|| network.forward(&images, Mode::Eval))?;
    cross_entropy(&logits, &batch.labels, Reduction::Mean)
}

/// All values in one row.
fn flat(tensors: impl IntoIterator<Item = Tensor>) -> Result<Tensor, TorchError> {
    let rows = tensors.into_iter().map(|tensor| Ok(tensor.f_detach()?.f_reshape([-1])?));
    let rows = rows.collect::<Result<Vec<_>, TorchError>>()?;
    Ok(Tensor::f_cat(&rows, 0)?)
}

/// `‖found − expected‖ / ‖expected‖`, in `f64` on the processor.
fn distance(found: &Tensor, expected: &Tensor) -> Result<f64, TorchError> {
    let [found, expected] = [found, expected]
        .map(|tensor| tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double));
    let (found, expected) = (found?, expected?);
    let error = found.f_sub(&expected)?.f_norm()?.f_double_value(&[])?;
    Ok(error / expected.f_norm()?.f_double_value(&[])?.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use rift_models::arch::ArchSpec;

    use super::*;
    use crate::network::device;

    fn graph() -> Graph {
        device::set_threads(Some(1));
        let spec = ArchSpec { width: Some(8), ..ArchSpec::new("resnet8", [3, 16, 16], 10) };
        spec.build().unwrap()
    }

    #[test]
    fn this_processor_computes_what_it_should() {
        for precision in [Precision::Float32, Precision::Bf16] {
            let rows = check(&graph(), 16, Device::Cpu, precision).unwrap();
            assert!(rows.len() >= 20, "{}", rows.len());
            assert!(rows.iter().all(Row::is_fine), "{precision}: {rows:#?}");
            let off = rows.iter().filter(|row| row.error > 0.0).count();
            assert!(2 * off > rows.len(), "nothing is held against itself: {rows:#?}");
        }
    }

    #[test]
    fn notices_another_precision_and_what_is_no_number() {
        let rows = check(&graph(), 16, Device::Cpu, Precision::Bf16).unwrap();
        let strict = |row: &Row| Row { tolerance: 1e-4, ..row.clone() };
        assert!(rows.iter().filter(|row| !strict(row).is_fine()).count() > rows.len() / 2);
        let wrong = Row { what: String::new(), error: f64::NAN, tolerance: 1.0 };
        assert!(!wrong.is_fine());
    }
}
