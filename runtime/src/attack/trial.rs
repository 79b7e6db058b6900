//! How many images should go through a model at once, found out by trying.
//!
//! What the best number is depends on the network and on the caches of the machine; no result does.

use std::time::{Duration, Instant};

use ndarray::Array4;

use super::gradient::Attacker;
use super::oracle::{Oracle, OracleError};

/// The numbers that are tried, in this order.
const CANDIDATES: [usize; 5] = [8, 16, 32, 4, 64];
/// What the trial may take, but for the attempt that is under way.
const TIME: Duration = Duration::from_millis(1500);
/// By how much another number must be faster to be worth it.
const WORTH: f64 = 1.03;

/// The fastest batch for one gradient at images of shape `input`, or one forward pass where no
/// gradient is followed; no more images than each of `workers` has to do.
///
/// # Errors
/// If the model fails.
pub fn fastest_batch(
    attacker: &mut Attacker<'_>,
    input: [usize; 3],
    (n, workers): (usize, usize),
) -> Result<usize, OracleError> {
    let has_gradient = attacker.follow_any()?;
    let most = n.div_ceil(workers.max(1)).max(1);
    let started = Instant::now();
    let mut best: Option<(usize, f64)> = None;
    for batch in CANDIDATES.into_iter().filter(|batch| *batch <= most) {
        if best.is_some() && started.elapsed() > TIME {
            break;
        }
        attacker.set_batch(batch);
        let rate = rate(attacker, input, (batch, has_gradient))?;
        if best.is_none_or(|(_, fastest)| rate > WORTH * fastest) {
            best = Some((batch, rate));
        }
    }
    Ok(best.map_or(most, |(batch, _)| batch))
}

/// Images per second in the faster of two runs after one that allocates, or in that one where it
/// takes so long that this does not matter.
fn rate(
    attacker: &mut Attacker<'_>,
    [c, h, w]: [usize; 3],
    (batch, has_gradient): (usize, bool),
) -> Result<f64, OracleError> {
    let images = Array4::from_elem((batch, c, h, w), 0.5);
    let labels = vec![0; batch];
    let mut once = || {
        let started = Instant::now();
        if has_gradient {
            attacker.gradient(&images.view(), &labels, &labels)?;
        } else {
            attacker.logits(&images.view())?;
        }
        Ok::<f64, OracleError>(started.elapsed().as_secs_f64().max(1e-9))
    };
    let first = once()?;
    let is_slow = first > TIME.as_secs_f64() / 4.0;
    let seconds = if is_slow { first } else { once()?.min(once()?) };
    Ok(batch as f64 / seconds)
}
