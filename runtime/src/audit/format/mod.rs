//! The report in the forms that other programs read.

mod junit;
mod robustbench;
mod sarif;
#[cfg(test)]
pub(crate) mod tests;

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
    /// Images that were not reached before the time was up.
    pub unreached: usize,
}

impl Threshold {
    /// Whether it is met; never while images are left, since each of them may still break.
    pub fn is_met(&self) -> bool {
        !self.is_below() && self.unreached == 0
    }

    /// Whether what was found is below what is asked for, whatever becomes of images that are left.
    pub fn is_below(&self) -> bool {
        self.found < self.least
    }

    /// In words.
    pub fn sentence(&self) -> String {
        let Self { what, found, least, unreached } = self;
        let figures = format!("{what} {found:.4}, at least {least} is asked for");
        if *unreached == 0 {
            return figures;
        }
        format!("{figures}; images that were not reached: {unreached}, so it may still fall")
    }
}
