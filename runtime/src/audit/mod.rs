//! The audit: the very file that is served, attacked on this machine.
//!
//! A [`Plan`] says what to do, [`measure`] does it after [`sanity`] has found out what the gradient is
//! worth, [`warnings`] says what stands in the way of taking the figures at face value, and
//! [`report`](report::report) puts it all into the file that others read and [`html`] into a page;
//! [`merge()`] makes one of the reports of its parts.

mod certificate;
#[cfg(test)]
mod deceivers;
pub mod format;
mod hard;
pub mod html;
mod likeness;
mod merge;
mod pace;
mod plan;
mod recount;
pub mod report;
pub mod rules;
mod runner;
pub mod sanity;
#[cfg(test)]
mod smoothed;
pub mod smoothing;
pub mod state;
mod summary;
#[cfg(test)]
mod tests;
mod twin;
mod watch;

pub use merge::{MergeError, merge};
pub use plan::{AuditError, Keep, Plan, check_data};
pub use recount::contradiction;
pub use runner::{Ballot, Fate, Measured, Stage, measure};
pub use summary::{counted, is_counted, warnings};
pub use twin::{check_twin, judge_twin};
pub use watch::{Progress, Step, Watch};
