//! The audit: the very file that is served, attacked on this machine.
//!
//! A [`Plan`] says what to do, [`measure`] does it, [`warnings`] says what stands in the way of
//! taking the figures at face value, and [`report`](report::report) puts it all into the file that
//! others read.

mod plan;
pub mod report;
mod runner;
mod summary;
#[cfg(test)]
mod tests;

pub use plan::{AuditError, Plan, check_data};
pub use runner::{Measured, Progress, Stage, measure};
pub use summary::warnings;
