//! The pipeline, in order.

pub mod ablate;
pub mod check;
mod evaluate;
mod exam;
pub mod finetune;
mod finite;
pub mod interpolate;
pub mod mrc;
mod probe;
pub mod rift;
mod step;
mod stop;
pub mod train;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

pub use evaluate::{Evaluation, Plan, evaluate};
pub use exam::{Exam, Judged, corrupted};
use finite::not_finite;
pub use probe::probe;
pub use step::{
    AverageSettings, AwpSettings, Moment, OnOverfitting, ProbeSettings, StepError, StepSettings,
    Stepper,
};
pub use stop::Stop;
pub use train::{Job, TrainError, Training};
