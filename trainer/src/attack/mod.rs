//! The adversary.

mod ball;
pub mod pgd;
mod quarter;

pub use pgd::{Outcome, attack, craft, craft_by};
pub use quarter::quarter;

#[cfg(test)]
mod tests;
