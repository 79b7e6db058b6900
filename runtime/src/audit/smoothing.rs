//! Randomised smoothing: what the model says under noise, and how far that can be moved.
//!
//! The smoothed classifier gives an image the class that the model gives most of the image's noisy
//! copies, and its answer provably stays the same within an L2 radius that follows from how
//! many those are. It is another classifier than the model itself: no attack on the one says
//! anything certain of the other.
//!
//! # References
//! Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918, section 3.2 and appendix A.

use std::time::Instant;

use ndarray::Array4;
use rift_models::dataset::Dataset;
use rift_models::threat::{NoiseKey, Stream};
use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc_inv;

use super::runner::Ballot;
use super::state::State;
use super::watch::Watch;
use super::{AuditError, Plan};
use crate::attack::oracle::{Oracle, OracleError, prediction};
use crate::session::spread;

/// The name under which its noise is drawn.
const NAME: &str = "smoothing";

/// How the smoothed classifier is made and measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothing {
    /// The noise's standard deviation, in pixel units.
    pub sigma: f64,
    /// Noisy copies that choose the class.
    pub selection: usize,
    /// Other noisy copies that say how often it is given.
    pub estimation: usize,
    /// The probability that a certificate is wrong, for one image.
    pub alpha: f64,
}

/// What the noisy copies of one image were found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The image.
    pub index: usize,
    /// The class that most of those that choose have.
    pub class: usize,
    /// How many of the others have it.
    pub count: usize,
}

impl Smoothing {
    /// The L2 radius within which the smoothed classifier provably gives `vote`'s class, in pixel
    /// units; none where it abstains.
    ///
    /// `R = σ · Φ⁻¹(p)`, with `p` the lower bound of the class's probability, where that is above ½.
    pub fn radius(&self, vote: &Vote) -> Option<f64> {
        let p = lower_bound(vote.count, self.estimation, self.alpha);
        (p > 0.5).then(|| self.sigma * quantile(p))
    }

    /// The largest radius that so many copies can prove.
    pub fn largest_radius(&self) -> Option<f64> {
        self.radius(&Vote { index: 0, class: 0, count: self.estimation })
    }

    /// Lets the noisy copies of one image vote, `batch` of them at a time.
    ///
    /// The noise is that of the image's index: the same for every batch size, part and thread count.
    ///
    /// # Errors
    /// If the model fails.
    pub fn vote(
        &self,
        oracle: &mut impl Oracle,
        (data, index): (&Dataset, usize),
        (seed, batch): (u64, usize),
    ) -> Result<Vote, OracleError> {
        let image: Vec<f32> = data.batch(index..index + 1).iter().copied().collect();
        let mut count = |restart: u32, copies: usize| {
            let stream = NoiseKey { seed, attack: NAME, restart }.stream(index);
            let mut noisy = Noisy { image: &image, sigma: self.sigma as f32, stream };
            noisy.classes(oracle, (data.input(), batch), copies)
        };
        let chosen = count(0, self.selection)?;
        let most = (0..chosen.len()).max_by_key(|class| (chosen[*class], usize::MAX - class));
        let class = most.unwrap_or(0);
        let count = count(1, self.estimation)?.get(class).copied().unwrap_or(0);
        Ok(Vote { index, class, count })
    }
}

/// Noisy copies of an image.
struct Noisy<'a> {
    image: &'a [f32],
    sigma: f32,
    stream: Stream,
}

impl Noisy<'_> {
    /// How many of so many copies have each class.
    fn classes(
        &mut self,
        oracle: &mut impl Oracle,
        ([c, h, w], batch): ([usize; 3], usize),
        copies: usize,
    ) -> Result<Vec<usize>, OracleError> {
        let mut counts = Vec::new();
        let mut left = copies;
        while left > 0 {
            let many = left.min(batch.max(1));
            let mut images = Array4::<f32>::zeros((many, c, h, w));
            for mut copy in images.outer_iter_mut() {
                for (to, from) in copy.iter_mut().zip(self.image) {
                    *to = from + self.sigma * self.stream.normal();
                }
            }
            let logits = oracle.logits(&images.view())?;
            counts.resize(logits.ncols(), 0);
            for row in logits.rows() {
                counts[prediction(&row)] += 1;
            }
            left -= many;
        }
        Ok(counts)
    }
}

/// The Clopper–Pearson bound: the largest `p` of which so many successes or more have at most
/// probability `alpha`.
///
/// It is the root of `I_p(k, n − k + 1) = α`, approached from below, so that what is returned is
/// never above it.
///
/// # References
/// Clopper & Pearson 1934, Biometrika 26, 404–413.
pub fn lower_bound(successes: usize, n: usize, alpha: f64) -> f64 {
    if successes == 0 || successes > n {
        return 0.0;
    }
    let (a, b) = (successes as f64, (n - successes) as f64 + 1.0);
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if beta_reg(a, b, middle) <= alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Φ⁻¹, the quantile of the standard normal distribution.
fn quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p)
}

/// Lets every image's noisy copies vote, over all workers; the votes by index.
pub(super) fn certify<O: Oracle + Send>(
    oracles: &mut [O],
    (data, smoothing): (&Dataset, &Smoothing),
    plan: &Plan,
    watch: &Watch<'_>,
) -> Result<Ballot, AuditError> {
    let started = Instant::now();
    let (known, before) = watch.state.map_or((&[][..], 0.0), State::votes);
    let mut votes: Vec<Vote> =
        known.iter().filter(|vote| plan.rows.contains(&vote.index)).cloned().collect();
    let mut left: Vec<usize> = plan.rows.clone().collect();
    left.retain(|index| !votes.iter().any(|vote| vote.index == *index));
    watch.tell(NAME, votes.len(), plan.rows.len());
    let seconds = || before + started.elapsed().as_secs_f64();
    let fresh = spread(oracles, left.len(), 1, |oracle, at| {
        let is_late = plan.until.is_some_and(|until| Instant::now() >= until);
        if is_late || watch.check().is_err() {
            return Ok(None);
        }
        let vote = smoothing.vote(oracle, (data, left[at.start]), (plan.seed, plan.batch))?;
        if let Some(state) = watch.state {
            state.keep_vote(&vote, seconds());
        }
        watch.tell(NAME, 1, plan.rows.len());
        Ok(Some(vote))
    })
    .map_err(AuditError::Oracle)?;
    watch.check()?;
    let seconds = if left.is_empty() { before } else { seconds() };
    votes.extend(fresh.into_iter().flatten());
    votes.sort_by_key(|vote| vote.index);
    votes.dedup_by_key(|vote| vote.index);
    Ok(Ballot { votes, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_clopper_and_pearson() {
        // From R: binom.test(k, n, alternative = "greater", conf.level = 1 - alpha)$conf.int[1].
        for (k, n, alpha, expected) in [
            (10, 10, 0.05, 0.05_f64.powf(0.1)),
            (100_000, 100_000, 0.001, 0.001_f64.powf(1e-5)),
            (1, 10, 0.05, 1.0 - 0.95_f64.powf(0.1)),
        ] {
            let found = lower_bound(k, n, alpha);
            assert!((found - expected).abs() < 1e-9, "{k} of {n}: {found} {expected}");
        }
        assert_eq!(lower_bound(0, 10, 0.05), 0.0);
        // The bound's own meaning: so many successes or more have probability alpha.
        for (k, n) in [(3, 8), (7, 8), (60, 100)] {
            let p = lower_bound(k, n, 0.01);
            let tail: f64 = (k..=n)
                .map(|i| choose(n, i) * p.powi(i as i32) * (1.0 - p).powi((n - i) as i32))
                .sum();
            assert!((tail - 0.01).abs() < 1e-9, "{k} of {n}: {tail}");
        }
    }

    fn choose(n: usize, k: usize) -> f64 {
        (1..=k).map(|i| (n - k + i) as f64 / i as f64).product()
    }

    #[test]
    fn the_radius_is_that_of_the_paper_and_a_coin_abstains() {
        let smoothing = Smoothing { sigma: 0.5, selection: 100, estimation: 1000, alpha: 0.001 };
        let radius = |count| smoothing.radius(&Vote { index: 0, class: 1, count });
        // Φ⁻¹(0.001^(1/1000)) = 2.463…
        let largest = smoothing.largest_radius().unwrap();
        assert!((largest - 0.5 * 2.4636).abs() < 1e-3, "{largest}");
        assert_eq!(radius(1000), Some(largest));
        for count in [0, 400, 500, 540] {
            assert_eq!(radius(count), None, "{count}");
        }
        assert!(radius(560).unwrap() > 0.0 && radius(560) < radius(700));
        assert!((quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-9);
    }
}
