//! Bundles: a model with its card, its probe and a page for people.

pub mod figures;
pub mod readme;
