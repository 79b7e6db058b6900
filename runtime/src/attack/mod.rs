//! Attacks: what an adversary asks of a model ([`oracle`]), where it may go ([`ball`]), and how it
//! gets there ([`pgd`]) by the model's own [`gradient`].

pub mod ball;
pub mod gradient;
pub mod oracle;
pub mod pgd;

#[cfg(test)]
mod tests;
