//! The adversary.

mod ball;
mod craft;
mod inner;
pub mod pgd;
mod quarter;

pub use craft::{Crafting, craft};
pub use inner::{Aim, CraftMode, InnerLoss, Start};
pub use pgd::{Outcome, attack};
pub use quarter::{five_quarters, quarter};

#[cfg(test)]
mod tests;
