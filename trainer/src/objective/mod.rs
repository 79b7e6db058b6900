//! What a training step minimises.

mod at;
pub mod awp;
mod distance;
mod mart;
mod method;
mod score;
mod standard;
#[cfg(test)]
mod tests;
mod trades;

pub use method::{Method, MethodError};

use tch::{Kind, Tensor};

use crate::network::{Mode, Network, TorchError};

/// A method with its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The method.
    pub method: Method,
    /// The weight of the second term of TRADES, MART and SCORE; SCORE without one is 0.
    pub beta: f64,
    /// The `c` of SCORE's clipping.
    pub loss_clip: f64,
    /// The weight that labels give away to the other classes.
    pub label_smoothing: f64,
}

/// What an objective is a function of, beside the network.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The images as they are, `N × C × H × W`.
    pub clean: &'a Tensor,
    /// The images that the attack found; without one those as they are.
    pub adversarial: &'a Tensor,
    /// `N` classes, of `i64`.
    pub labels: &'a Tensor,
}

/// A loss that can be minimised, and how many of the images it was taken on were right.
#[derive(Debug)]
pub struct StepLoss {
    /// The mean loss over the batch: a scalar with a graph behind it.
    pub loss: Tensor,
    /// How many of the images that were trained on, as the attack left them, were classified
    /// correctly: a scalar.
    pub correct: Tensor,
}

impl Objective {
    /// A method without smoothing and clipping.
    pub fn new(method: Method, beta: f64) -> Self {
        Self { method, beta, loss_clip: 0.0, label_smoothing: 0.0 }
    }

    /// Whether the loss also looks at the images as they are.
    fn looks_at_clean(&self) -> bool {
        match self.method {
            Method::Trades | Method::Mart => true,
            Method::Score => self.beta > 0.0,
            Method::Standard | Method::At | Method::FastAt => false,
        }
    }

    /// The loss, a function of nothing but its arguments.
    ///
    /// In training mode the running statistics move with every pass: where the loss looks at both,
    /// first with the images as they are, then with those of the attack, as in the references.
    ///
    /// # Errors
    /// If libtorch fails.
    pub fn loss(
        &self,
        network: &Network,
        pair: &Pair<'_>,
        mode: Mode,
    ) -> Result<StepLoss, TorchError> {
        let labels = pair.labels;
        let clean = self.looks_at_clean().then(|| network.forward(pair.clean, mode)).transpose()?;
        let logits = network.forward(pair.adversarial, mode)?;
        let loss = match (self.method, &clean) {
            (Method::Trades, Some(clean)) => trades::loss(self, clean, &logits, labels)?,
            (Method::Mart, Some(clean)) => mart::loss(self, clean, &logits, labels)?,
            (Method::Score, clean) => score::loss(self, clean.as_ref(), &logits, labels)?,
            (Method::Standard, _) => standard::loss(self, &logits, labels)?,
            _ => at::loss(self, &logits, labels)?,
        };
        let correct = logits.f_detach()?.f_argmax(1, false)?.f_eq_tensor(labels)?;
        Ok(StepLoss { loss, correct: correct.f_sum(Kind::Int64)? })
    }
}
