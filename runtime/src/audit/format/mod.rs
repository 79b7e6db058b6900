//! The report in the forms that other programs read.

mod junit;
mod robustbench;
mod sarif;
#[cfg(test)]
pub(super) mod tests;

pub use junit::junit;
pub use robustbench::{EntryError, check as check_robustbench, robustbench};
pub use sarif::sarif;

/// A threshold, and what was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// What must not be below it.
    pub what: &'static str,
    /// What was found.
    pub found: f64,
    /// The least that is asked for.
    pub least: f64,
}

impl Threshold {
    /// Whether it is met.
    pub fn is_met(&self) -> bool {
        self.found >= self.least
    }

    /// In words.
    pub fn sentence(&self) -> String {
        let Self { what, found, least } = self;
        format!("{what} {found:.4}, at least {least} is asked for")
    }
}
