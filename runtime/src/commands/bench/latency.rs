//! How long things took: a histogram in, percentiles out.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest time that is told apart, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Times of one kind, to three digits.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

/// Percentiles of times.
///
/// # Units
/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
    /// How many times they are taken over.
    pub(super) count: u64,
}

impl Times {
    pub(super) fn new() -> anyhow::Result<Self> {
        Histogram::new_with_max(LONGEST, 3).map(Self).context("cannot make a histogram")
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn latency(&self) -> Latency {
        let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile));
        Latency {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: milliseconds(self.0.max()),
            mean: self.0.mean() / 1e6,
            count: self.0.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut times = Times::new().unwrap();
        for milliseconds in 1..=1000 {
            times.record(Duration::from_millis(milliseconds));
        }
        let latency = times.latency();
        for (found, expected) in [
            (latency.p50, 500.0),
            (latency.p95, 950.0),
            (latency.p99, 990.0),
            (latency.max, 1000.0),
            (latency.mean, 500.5),
        ] {
            assert!((found / expected - 1.0).abs() < 2e-3, "{found} for {expected}");
        }
        assert_eq!(latency.count, 1000);
    }
}
