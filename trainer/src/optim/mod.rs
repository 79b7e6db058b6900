//! How parameters move.

mod average;
mod clip;
mod schedule;
mod sgd;

pub use average::Average;
pub use clip::clip;
pub use schedule::{Schedule, ScheduleKind};
pub use sgd::{Sgd, SgdSettings};
