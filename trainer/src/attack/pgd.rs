//! Projected gradient descent (Madry et al. 2018), as [`AttackSpec`] defines it.

use rift_models::threat::{AttackSpec, NoiseKey};
use tch::{Reduction, Tensor};

use super::ball::Ball;
use crate::data::Batch;
use crate::network::device::ManyShapes;
use crate::network::{
    Mode, Network, Precision, TorchError, cross_entropy, gradient_of, to_indices,
};

/// What an attack on a batch came to.
#[derive(Debug)]
pub struct Outcome {
    /// The class predicted for each image as it is.
    pub clean: Vec<usize>,
    /// The class predicted for each adversarial image.
    pub adversarial: Vec<usize>,
    /// Whether each image is still classified correctly.
    pub robust: Vec<bool>,
    /// The adversarial images: what broke an image; the last iterate of the last restart where
    /// nothing did; the image itself where it was misclassified to begin with.
    pub images: Tensor,
}

/// Attacks every image of a batch and says which of them stand, under the full specification:
/// early stop, restarts, noise by the image's index.
///
/// The verdict is the argmax of the `f32` logits, of which the first largest counts. A network that
/// computes in another precision steers the attack with it, and is judged in `f32` all the same.
///
/// # Errors
/// If libtorch fails.
pub fn attack(network: &Network, batch: &Batch, spec: &AttackSpec) -> Result<Outcome, TorchError> {
    let _shapes = ManyShapes::on(network.device());
    let exact = network.exact()?.folded()?;
    let steering = match network.precision() {
        Precision::Float32 | Precision::Tf32 => None,
        Precision::Bf16 => Some(network.folded()?),
    };
    let clean = tch::no_grad(|| predictions(&exact.forward(&batch.images, Mode::Eval)?))?;
    let labels = to_indices(&batch.labels)?;
    let robust = clean.iter().zip(&labels).map(|(p, label)| p == label).collect();
    let images = batch.images.f_detach()?.f_clamp(0.0, 1.0)?;
    let mut state = State {
        ball: Ball::new(&batch.images, spec)?,
        outcome: Outcome { adversarial: clean.clone(), clean, robust, images },
        exact,
        steering,
        spec,
        labels,
        batch,
    };
    for restart in 0..spec.restarts {
        if state.outcome.robust.iter().any(|robust| *robust) {
            state.restart(restart as u32)?;
        }
    }
    Ok(state.outcome)
}

/// An attack on a batch under way.
struct State<'a> {
    /// In `f32`: decides.
    exact: Network,
    /// Gives the gradients, where that is another one.
    steering: Option<Network>,
    batch: &'a Batch,
    spec: &'a AttackSpec,
    labels: Vec<usize>,
    ball: Ball,
    outcome: Outcome,
}

/// The images of a batch that are still attacked.
struct Active {
    /// Their rows in the batch.
    rows: Vec<usize>,
    ball: Ball,
    labels: Tensor,
    images: Tensor,
}

impl State<'_> {
    /// Attacks the survivors once.
    fn restart(&mut self, restart: u32) -> Result<(), TorchError> {
        let mut active = self.survivors(restart)?;
        for _ in 0..self.spec.steps {
            let labels = active.labels.shallow_clone();
            let network = self.steering.as_ref().unwrap_or(&self.exact);
            let (logits, gradient) = gradient_of(network, &active.images, |logits| {
                cross_entropy(logits, &labels, Reduction::Sum)
            })?;
            let next = active.ball.step(&active.images, &gradient)?;
            if self.spec.early_stop {
                let predicted = self.verdicts(&active, &logits)?;
                let standing = self.judge(&active, predicted)?;
                active.images = next;
                active = self.keep(active, &standing)?;
                if active.rows.is_empty() {
                    return Ok(());
                }
            } else {
                active.images = next;
            }
        }
        let logits = tch::no_grad(|| self.exact.forward(&active.images, Mode::Eval))?;
        let standing = self.judge(&active, predictions(&logits)?)?;
        let active = self.keep(active, &standing)?;
        self.store(&active.rows, &active.images)
    }

    /// The images that no restart has broken yet, at their starting points.
    fn survivors(&self, restart: u32) -> Result<Active, TorchError> {
        let rows: Vec<usize> =
            (0..self.labels.len()).filter(|row| self.outcome.robust[*row]).collect();
        let places = self.places(&rows)?;
        let indices: Vec<usize> = rows.iter().map(|row| self.batch.indices[*row]).collect();
        let ball = self.ball.select(&places)?;
        let key = NoiseKey { seed: self.spec.seed, attack: "pgd", restart };
        let images = ball.start(self.spec.random_start.then_some(&key), &indices)?;
        let labels = self.batch.labels.f_index_select(0, &places)?;
        Ok(Active { rows, ball, labels, images })
    }

    /// The classes of the active images by the logits that the attack saw; what those break
    /// counts only where `f32` says so too.
    fn verdicts(&self, active: &Active, logits: &Tensor) -> Result<Vec<usize>, TorchError> {
        let mut predicted = predictions(logits)?;
        let is_broken = |place: &usize| predicted[*place] != self.labels[active.rows[*place]];
        let broken: Vec<usize> = (0..predicted.len()).filter(is_broken).collect();
        if self.steering.is_none() || broken.is_empty() {
            return Ok(predicted);
        }
        let images = active.images.f_index_select(0, &self.places(&broken)?)?;
        let logits = tch::no_grad(|| self.exact.forward(&images, Mode::Eval))?;
        for (place, class) in broken.into_iter().zip(predictions(&logits)?) {
            predicted[place] = class;
        }
        Ok(predicted)
    }

    /// Records which of the active images their predictions break; gives the positions among the
    /// active that stand.
    fn judge(&mut self, active: &Active, predicted: Vec<usize>) -> Result<Vec<usize>, TorchError> {
        let (mut standing, mut broken) = (Vec::new(), Vec::new());
        for (position, (row, class)) in active.rows.iter().zip(predicted).enumerate() {
            self.outcome.adversarial[*row] = class;
            if class == self.labels[*row] {
                standing.push(position);
            } else {
                self.outcome.robust[*row] = false;
                broken.push(position);
            }
        }
        if !broken.is_empty() {
            let rows: Vec<usize> = broken.iter().map(|position| active.rows[*position]).collect();
            let images = active.images.f_index_select(0, &self.places(&broken)?)?;
            self.store(&rows, &images)?;
        }
        Ok(standing)
    }

    /// The active images at these positions.
    fn keep(&self, active: Active, positions: &[usize]) -> Result<Active, TorchError> {
        if positions.len() == active.rows.len() {
            return Ok(active);
        }
        let places = self.places(positions)?;
        Ok(Active {
            rows: positions.iter().map(|position| active.rows[*position]).collect(),
            ball: active.ball.select(&places)?,
            labels: active.labels.f_index_select(0, &places)?,
            images: active.images.f_index_select(0, &places)?,
        })
    }

    /// Puts images into the outcome's rows.
    fn store(&mut self, rows: &[usize], images: &Tensor) -> Result<(), TorchError> {
        if rows.is_empty() {
            return Ok(());
        }
        let places = self.places(rows)?;
        let _ = self.outcome.images.f_index_copy_(0, &places, images)?;
        Ok(())
    }

    fn places(&self, rows: &[usize]) -> Result<Tensor, TorchError> {
        let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        Ok(Tensor::f_from_slice(&rows)?.f_to_device(self.batch.images.device())?)
    }
}

/// The class of no image: what a network says that gives a logit that is no number.
pub const NO_CLASS: usize = usize::MAX;

/// The class of each row of logits: the first of the largest, or [`NO_CLASS`].
///
/// libtorch's own argmax takes NaN for the largest number, and all of a row of NaN for class 0.
///
/// # Errors
/// If libtorch fails.
pub fn predictions(logits: &Tensor) -> Result<Vec<usize>, TorchError> {
    let is_none = logits.f_isnan()?.f_any_dim(1, false)?;
    let classes = logits.f_argmax(1, false)?.f_masked_fill(&is_none, -1)?;
    // As an index, −1 is the largest there is.
    to_indices(&classes)
}
