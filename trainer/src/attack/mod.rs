//! The adversary.

mod ball;
pub mod pgd;

pub use pgd::{Outcome, attack, craft};

#[cfg(test)]
mod tests;
