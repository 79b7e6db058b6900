//! What a run says of itself while it goes.

mod progress;

pub use progress::Progress;
