//! How long an audit takes from here.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::attack::walk::Outcome;

/// The work of an audit's attacks, in gradients; a forward pass counts a third of one.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    done: Mutex<f64>,
}

/// What is to be done for the images that are left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// Gradients for one image that resists the attack under way.
    pub(super) now: f64,
    /// Those for one that resists all that follow.
    pub(super) later: f64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), done: Mutex::new(0.0) }
    }

    /// Counts what an image took.
    pub(super) fn count(&self, outcome: &Outcome) {
        if let Ok(mut done) = self.done.lock() {
            *done += outcome.gradients as f64 + outcome.forwards as f64 / 3.0;
        }
    }

    /// How long it takes if every image that is left resists to the end: `attacked` by the attack
    /// under way, `surviving` by all that follow.
    pub(super) fn left(&self, ahead: Ahead, attacked: usize, surviving: usize) -> Option<Duration> {
        let done = self.done.lock().ok().map(|done| *done).filter(|done| *done > 0.0)?;
        let work = ahead.now * attacked as f64 + ahead.later * surviving as f64;
        let seconds = self.started.elapsed().as_secs_f64() / done * work;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_work_takes_twice_the_time() {
        let started = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
        let pace = Pace { started, done: Mutex::new(0.0) };
        let ahead = Ahead { now: 10.0, later: 90.0 };
        assert_eq!(pace.left(ahead, 3, 3), None);
        pace.count(&Outcome {
            index: 0,
            broken: false,
            prediction: 0,
            distance: 0.0,
            image: Vec::new(),
            gradients: 9,
            forwards: 3,
            blind: false,
        });
        // 10 gradients in 100 seconds.
        for (attacked, surviving, expected) in [(1, 0, 100.0), (2, 0, 200.0), (1, 2, 1900.0)] {
            let left = pace.left(ahead, attacked, surviving).unwrap().as_secs_f64();
            assert!((left / expected - 1.0).abs() < 0.1, "{left} {expected}");
        }
    }
}
