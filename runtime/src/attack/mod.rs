//! Attacks: what an adversary asks of a model ([`oracle`]), where it may go ([`ball`]), and how it
//! gets there ([`pgd`]).

pub mod ball;
pub mod oracle;
pub mod pgd;

#[cfg(test)]
mod tests;
