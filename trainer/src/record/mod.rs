//! What a run says of itself while it goes.

pub mod chart;
pub mod figures;
pub mod metrics;
mod overfitting;
mod progress;
pub mod tensorboard;

pub use metrics::EpochMetrics;
pub use overfitting::{Overfitting, overfitting};
pub use progress::Progress;
