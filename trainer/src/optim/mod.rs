//! How parameters move.

mod schedule;
mod sgd;

pub use schedule::{Schedule, ScheduleKind};
pub use sgd::{Sgd, SgdSettings};
