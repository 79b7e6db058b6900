//! The adversary.

mod ball;
mod craft;
mod inner;
pub mod pgd;

pub use craft::{Crafting, craft};
pub use inner::{Aim, CraftMode, InnerLoss, Start};
pub use pgd::{Outcome, attack};

#[cfg(test)]
mod tests;
