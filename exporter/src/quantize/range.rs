//! From where a value lies to the grid of integers that stands for it.
//!
//! ```text
//! x ≈ s (q − z)        q = clamp(round(x / s) + z)
//! ```
//!
//! The grid always holds 0 exactly, because padding and ReLU put it there.

use rift_models::artifact::ActivationFormat;

/// The steps between the 256 levels of a byte.
pub(super) const STEPS: f64 = 255.0;
/// No scale is smaller: a product of two must still be a number.
const SMALLEST_SCALE: f64 = 1e-12;
/// The share of a range by which its candidates shrink.
const CANDIDATES: usize = 100;
/// No candidate is smaller than this share of what was seen.
const SMALLEST_SHARE: f64 = 0.05;

/// How the range of a value is chosen from where its numbers lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// All that was seen.
    MinMax,
    /// All but a few: the share in percent that is kept.
    Percentile(f64),
    /// The least Kullback–Leibler divergence between the numbers and their levels.
    ///
    /// # References
    /// Migacz 2017, "8-bit Inference with TensorRT".
    Entropy,
    /// The least mean squared error: that of rounding inside, that of clipping outside.
    Mse,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MinMax => f.write_str("minmax"),
            Self::Percentile(share) => write!(f, "percentile {share}"),
            Self::Entropy => f.write_str("entropy"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

/// An interval that holds 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// Its lower end, at most 0.
    pub lower: f32,
    /// Its upper end, at least 0.
    pub upper: f32,
}

impl Range {
    /// The smallest range that holds both numbers and 0.
    pub fn new(lower: f32, upper: f32) -> Self {
        Self { lower: lower.min(0.0), upper: upper.max(0.0) }
    }

    /// The range that holds this one and `value`.
    pub fn with(self, value: f32) -> Self {
        Self { lower: self.lower.min(value), upper: self.upper.max(value) }
    }

    /// The smallest range that holds both.
    pub fn union(self, other: Self) -> Self {
        self.with(other.lower).with(other.upper)
    }
}

/// How many numbers of a value lie where, in bins of one width over a range.
///
/// Zeros are counted apart: every grid holds 0 exactly, so they are never rounded, and after a ReLU
/// they are most of the numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    range: Range,
    counts: Vec<u64>,
    zeros: u64,
}

impl Histogram {
    /// The bins of a histogram: eight a level.
    pub const BINS: usize = 2048;

    /// An empty histogram over `range`.
    pub fn new(range: Range) -> Self {
        Self { range, counts: vec![0; Self::BINS], zeros: 0 }
    }

    fn width(&self) -> f64 {
        (f64::from(self.range.upper) - f64::from(self.range.lower)) / Self::BINS as f64
    }

    /// Counts numbers; what lies outside the range counts at its end.
    pub fn add(&mut self, numbers: &[f32]) {
        let per_unit = (1.0 / self.width()) as f32;
        if !per_unit.is_finite() {
            return;
        }
        for number in numbers {
            if *number == 0.0 {
                self.zeros += 1;
                continue;
            }
            // A cast to an integer saturates below 0.
            let bin = ((number - self.range.lower) * per_unit) as usize;
            self.counts[bin.min(Self::BINS - 1)] += 1;
        }
    }

    /// Adds the counts of a histogram over the same range.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.zeros += other.zeros;
    }

    /// The bin in which 0 lies.
    fn bin_of_zero(&self) -> usize {
        let bin = (-f64::from(self.range.lower) / self.width()) as usize;
        bin.min(Self::BINS - 1)
    }

    /// The range that `method` chooses.
    pub fn range(&self, method: Method) -> Range {
        let width = self.width();
        if width <= 0.0 || self.counts.iter().all(|count| *count == 0) {
            return self.range;
        }
        match method {
            Method::MinMax => self.range,
            Method::Percentile(share) => self.percentile(share / 100.0),
            Method::Entropy => self.entropy(),
            Method::Mse => self.least_squares(),
        }
    }

    /// Leaves out the outermost numbers, equally many at both ends; none where all are on one side.
    fn percentile(&self, share: f64) -> Range {
        let mut counts = self.counts.clone();
        counts[self.bin_of_zero()] += self.zeros;
        let total: u64 = counts.iter().sum();
        let ends = if self.range.lower < 0.0 && self.range.upper > 0.0 { 2.0 } else { 1.0 };
        let spare = ((1.0 - share) * total as f64 / ends).floor() as u64;
        let cut = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut left = spare;
            counts
                .take_while(|count| {
                    left.checked_sub(**count).inspect(|rest| left = *rest).is_some()
                })
                .count()
        };
        let (mut below, mut above) = (0, 0);
        if self.range.lower < 0.0 {
            below = cut(&mut counts.iter());
        }
        if self.range.upper > 0.0 {
            above = cut(&mut counts.iter().rev());
        }
        self.within(below, Self::BINS.saturating_sub(above))
    }

    /// The range of the bins `from..to`, with 0.
    fn within(&self, from: usize, to: usize) -> Range {
        let edge = |bin: usize| (f64::from(self.range.lower) + bin as f64 * self.width()) as f32;
        Range::new(edge(from), edge(to.max(from)))
    }

    fn least_squares(&self) -> Range {
        let shares: Vec<f64> = (0..=CANDIDATES).map(share).collect();
        let ends = |end: f32| -> Vec<f64> {
            if end == 0.0 { vec![0.0] } else { shares.iter().map(|s| s * f64::from(end)).collect() }
        };
        let width = self.width();
        let centres =
            (0..Self::BINS).map(|bin| f64::from(self.range.lower) + (bin as f64 + 0.5) * width);
        let bins: Vec<(f64, f64)> = centres
            .zip(&self.counts)
            .filter(|(_, n)| **n > 0)
            .map(|(x, n)| (x, *n as f64))
            .collect();
        let total: f64 = bins.iter().map(|(_, n)| n).sum();
        // The error of clipping at one end, and of how many numbers, does not depend on the other end.
        let clipped = |end: f64| -> (f64, f64) {
            let beyond = |x: f64| if end > 0.0 { x - end } else { end - x };
            let outside = bins.iter().filter(|(x, _)| beyond(*x) > 0.0);
            outside.fold((0.0, 0.0), |(error, count), (x, n)| {
                (error + n * beyond(*x).powi(2), count + n)
            })
        };
        let priced = |ends: Vec<f64>| -> Vec<(f64, (f64, f64))> {
            let price = |end: f64| if end == 0.0 { (0.0, 0.0) } else { clipped(end) };
            ends.into_iter().map(|end| (end, price(end))).collect()
        };
        let (lowers, uppers) = (priced(ends(self.range.lower)), priced(ends(self.range.upper)));
        let mut best = (f64::INFINITY, self.range);
        for (lower, (below, clipped_below)) in &lowers {
            for (upper, (above, clipped_above)) in &uppers {
                // What is clipped is not rounded as well.
                let inside = total - clipped_below - clipped_above;
                let rounding = ((upper - lower) / STEPS).powi(2) / 12.0 * inside;
                let error = rounding + below + above;
                if error < best.0 {
                    best = (error, Range::new(*lower as f32, *upper as f32));
                }
            }
        }
        best.1
    }

    fn entropy(&self) -> Range {
        let zero = ((-f64::from(self.range.lower)) / self.width()).round() as usize;
        let zero = zero.min(Self::BINS);
        let mut best = (f64::INFINITY, self.range);
        for candidate in 0..=CANDIDATES {
            // One threshold for both ends, so that a long tail does not cut what lies opposite.
            let threshold =
                (share(candidate) * zero.max(Self::BINS - zero) as f64).round() as usize;
            let from = zero - threshold.min(zero);
            let to = zero + threshold.min(Self::BINS - zero);
            if to - from < STEPS as usize + 1 {
                continue;
            }
            let divergence = self.divergence(from, to);
            if divergence < best.0 {
                best = (divergence, self.within(from, to));
            }
        }
        best.1
    }

    /// How much is lost when only the bins `from..to` have levels: KL(P ‖ Q), P with what lies
    /// outside at its ends, Q the same numbers spread evenly over the bins of their level.
    fn divergence(&self, from: usize, to: usize) -> f64 {
        let inside = &self.counts[from..to];
        let mut p: Vec<f64> = inside.iter().map(|n| *n as f64).collect();
        let last = p.len() - 1;
        p[0] += self.counts[..from].iter().sum::<u64>() as f64;
        p[last] += self.counts[to..].iter().sum::<u64>() as f64;
        let mut q = vec![0.0; p.len()];
        let levels = STEPS as usize + 1;
        for level in 0..levels {
            let bins = level * p.len() / levels..(level + 1) * p.len() / levels;
            let sum: f64 = inside[bins.clone()].iter().map(|n| *n as f64).sum();
            let filled = bins.clone().filter(|bin| p[*bin] > 0.0).count();
            for bin in bins {
                if p[bin] > 0.0 {
                    q[bin] = sum / filled as f64;
                }
            }
        }
        let (of_p, of_q): (f64, f64) = (p.iter().sum(), q.iter().sum());
        // A bin whose level holds nothing that was inside costs much, but not everything.
        let smallest = 1e-9;
        p.iter()
            .zip(&q)
            .filter(|(p, _)| **p > 0.0)
            .map(|(p, q)| p / of_p * ((p / of_p) / (q / of_q).max(smallest)).ln())
            .sum()
    }
}

/// From 1 down to the smallest share.
fn share(candidate: usize) -> f64 {
    1.0 - (1.0 - SMALLEST_SHARE) * candidate as f64 / CANDIDATES as f64
}

/// The integers that stand for a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The distance of two levels.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
}

impl Grid {
    /// The grid over `range`.
    pub fn new(range: Range, format: ActivationFormat) -> Self {
        let smallest = match format {
            ActivationFormat::U8 => 0.0,
            ActivationFormat::S8 => -128.0,
        };
        let [lower, upper] = [range.lower, range.upper].map(f64::from);
        if upper - lower <= 0.0 {
            return Self { scale: 1.0, zero_point: smallest as i32 };
        }
        let scale = ((upper - lower) / STEPS).max(SMALLEST_SCALE);
        let zero = (smallest - lower / scale).round_ties_even();
        let zero_point = zero.clamp(smallest, smallest + STEPS) as i32;
        Self { scale: scale as f32, zero_point }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell of numbers in [-1, 1] and one at 100.
    fn numbers() -> Vec<f32> {
        let bell = (0..20_000).map(|i| ((i * 7919 % 20_000) as f32 / 10_000.0 - 1.0).powi(3));
        bell.chain([100.0]).collect()
    }

    /// The numbers, the bell so many times.
    fn histogram(times: usize) -> Histogram {
        let numbers = numbers();
        let range = numbers.iter().fold(Range::default(), |range, x| range.with(*x));
        let mut histogram = Histogram::new(range);
        histogram.add(&numbers);
        for _ in 1..times {
            histogram.add(&numbers[..numbers.len() - 1]);
        }
        histogram
    }

    #[test]
    fn every_method_but_one_leaves_an_outlier_out() {
        // So rare that its own error weighs less than that of all others.
        let histogram = histogram(100);
        assert_eq!(histogram.range(Method::MinMax), Range { lower: -1.0, upper: 100.0 });
        let kept = histogram.range(Method::Percentile(99.9));
        assert!(kept.upper < 2.0 && kept.lower < -0.9, "{kept:?}");
        for method in [Method::Mse, Method::Entropy] {
            let kept = histogram.range(method);
            assert!(kept.upper < 60.0 && kept.lower <= 0.0, "{method}: {kept:?}");
        }
    }

    /// What a ReLU leaves of a bell around `mean`.
    fn rectified(mean: f32) -> Vec<f32> {
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        };
        let mut bell = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
        (0..50_000).map(|_| (bell() + mean).max(0.0)).collect()
    }

    fn histogram_of(numbers: &[f32]) -> Histogram {
        let range = numbers.iter().fold(Range::default(), |range, x| range.with(*x));
        let mut histogram = Histogram::new(range);
        histogram.add(numbers);
        histogram
    }

    /// The squared error of the grid over `range`, by rounding every number.
    fn squared_error(numbers: &[f32], range: Range) -> f64 {
        let grid = Grid::new(range, ActivationFormat::U8);
        let round = |x: f32| {
            let q = (x / grid.scale).round_ties_even() + grid.zero_point as f32;
            (q.clamp(0.0, 255.0) - grid.zero_point as f32) * grid.scale
        };
        numbers.iter().map(|x| f64::from(x - round(*x)).powi(2)).sum()
    }

    #[test]
    fn the_least_squares_are_those_of_trying() {
        for numbers in [numbers(), rectified(0.0), rectified(-1.5), rectified(-2.5)] {
            let histogram = histogram_of(&numbers);
            let best = squared_error(&numbers, histogram.range(Method::Mse));
            for other in [Method::MinMax, Method::Percentile(99.9), Method::Entropy] {
                let found = squared_error(&numbers, histogram.range(other));
                assert!(best <= found * 1.05, "{other}: {best} against {found}");
            }
        }
    }

    #[test]
    fn the_zeros_of_a_relu_clip_nothing_else() {
        for mean in [0.0, -1.0, -2.0] {
            let numbers = rectified(mean);
            let histogram = histogram_of(&numbers);
            let seen = histogram.range(Method::MinMax).upper;
            for method in [Method::Entropy, Method::Mse] {
                let kept = histogram.range(method).upper;
                assert!(kept > 0.6 * seen, "{method} at {mean}: {kept} of {seen}");
            }
            // They are numbers all the same where a share of all is kept.
            let share = histogram.range(Method::Percentile(90.0)).upper;
            let above = numbers.iter().filter(|x| **x > share).count();
            assert!(above <= numbers.len() / 10, "{above} above {share}");
        }
    }

    #[test]
    fn what_is_never_negative_keeps_its_zero_at_the_end() {
        let mut histogram = Histogram::new(Range::new(0.0, 6.0));
        histogram.add(&(0..6000).map(|i| i as f32 / 1000.0).collect::<Vec<_>>());
        for method in [Method::MinMax, Method::Percentile(99.0), Method::Entropy, Method::Mse] {
            let range = histogram.range(method);
            assert_eq!(range.lower, 0.0, "{method}");
            assert!(range.upper > 4.0, "{method}: {range:?}");
            assert_eq!(Grid::new(range, ActivationFormat::U8).zero_point, 0);
            assert_eq!(Grid::new(range, ActivationFormat::S8).zero_point, -128);
        }
    }

    #[test]
    fn zero_is_always_a_level() {
        let range = Range::new(0.5, 2.0);
        assert_eq!(range, Range { lower: 0.0, upper: 2.0 });
        let grid = Grid::new(Range::new(-1.0, 3.0), ActivationFormat::U8);
        assert_eq!(grid.zero_point, 64);
        assert!((grid.scale - 4.0 / 255.0).abs() < 1e-9);
        // A value that is always 0, and one so small that its scale would be none.
        let dead = Grid::new(Range::default(), ActivationFormat::U8);
        assert_eq!(dead, Grid { scale: 1.0, zero_point: 0 });
        assert!(Grid::new(Range::new(0.0, 1e-30), ActivationFormat::S8).scale > 0.0);
        let histogram = Histogram::new(Range::default());
        assert_eq!(histogram.range(Method::Mse), Range::default());
    }
}
