//! The whole pipeline, stage by stage, as a user runs it: on made-up images and on slices of real
//! ones.

#![expect(clippy::unwrap_used, reason = "a test says what it expects with `unwrap`")]

mod methods;
mod real;
mod records;
mod schemas;
mod stages;
mod synthetic;
mod tutorial;
