//! What the adversary may do: a norm, a budget, and the attack that spends it.
//!
//! Trainer and runtime share these types, so that both attack under the same specification and
//! from the same noise.

mod attack;
mod epsilon;
pub mod noise;
mod norm;

pub use attack::{AttackError, AttackSpec};
pub use epsilon::{Epsilon, EpsilonError};
pub use noise::{NoiseKey, Stream};
pub use norm::{Norm, NormError};
