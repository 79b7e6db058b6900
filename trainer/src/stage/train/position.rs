//! Where a training is, and what it has added up since the epoch began.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a training, and the sums over the part of the epoch that is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epochs that are done.
    pub epochs: usize,
    /// Steps done in the epoch under way.
    pub step: usize,
    /// Images seen in it.
    pub images: usize,
    /// The sum of the loss over them.
    pub loss: f64,
    /// How many of them were classified correctly as they were trained on.
    pub correct: f64,
    /// The learning rate of the last step.
    pub rate: f64,
    /// The sum of the loss over the images since the steps were last recorded.
    pub recent_loss: f64,
    /// Those images.
    pub recent_images: usize,
    /// Seconds that the epoch took so far.
    pub seconds: f64,
}

impl Position {
    /// Adds a step.
    pub(super) fn add(&mut self, mean_loss: f64, correct: f64, images: usize, rate: f64) {
        self.loss += mean_loss * images as f64;
        self.correct += correct;
        self.images += images;
        self.recent_loss += mean_loss * images as f64;
        self.recent_images += images;
        self.rate = rate;
    }

    /// The beginning of the next epoch; steps that were not recorded yet are still to be.
    pub(super) fn next_epoch(&self) -> Self {
        let Self { epochs, recent_loss, recent_images, .. } = *self;
        Self { epochs: epochs + 1, recent_loss, recent_images, ..Self::default() }
    }

    /// The mean loss of the epoch so far.
    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.images.max(1) as f64
    }

    /// The accuracy of the epoch so far.
    pub(super) fn accuracy(&self) -> f64 {
        self.correct / self.images.max(1) as f64
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            0 => write!(f, "after epoch {}", self.epochs),
            step => write!(f, "after step {step} of epoch {}", self.epochs + 1),
        }
    }
}
