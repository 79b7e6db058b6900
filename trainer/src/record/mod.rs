//! What a run says of itself while it goes.

pub mod metrics;
mod progress;

pub use metrics::EpochMetrics;
pub use progress::Progress;
