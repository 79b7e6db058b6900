//! A wish to stop that a long computation looks at where it can stop in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether to stop, and by which signal. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Asks to stop, as the signal of this number does.
    pub fn request(&self, signal: usize) {
        self.0.store(signal, Ordering::Relaxed);
    }

    /// The signal that asked to stop.
    pub fn requested(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }

    /// Where a signal handler stores its number.
    pub fn cell(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one() {
        let stop = Stop::default();
        let other = stop.clone();
        assert_eq!(other.requested(), None);
        stop.request(15);
        assert_eq!(other.requested(), Some(15));
    }
}
