//! Attacks: what an adversary asks of a model ([`oracle`]), where it may go ([`ball`]), how images
//! ([`samples`]) are carried there ([`walk`]) by the model's own [`gradient`], and the attacks themselves, which
//! [`method`] knows by name.

pub mod apgd;
pub mod ball;
mod doubt;
pub mod fab;
pub mod gradient;
pub mod method;
pub mod oracle;
pub mod pgd;
pub mod samples;
pub mod square;
pub mod trial;
pub mod walk;

#[cfg(test)]
mod tests;
