//! Which images a split holds.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::DatasetError;
use super::part::Order;

/// What images are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To fit weights.
    Train,
    /// To choose by: cut from the training images.
    Validation,
    /// To report on; nothing is ever chosen by these.
    Test,
}

impl Split {
    /// The name, as in `--split`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = DatasetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Train, Self::Validation, Self::Test]
            .into_iter()
            .find(|split| split.name() == text)
            .ok_or_else(|| DatasetError::UnknownSplit(text.to_owned()))
    }
}

/// How the validation images are drawn from the training images.
///
/// The draw is seeded and stratified: it depends on the labels and on nothing else, and it is the
/// same on every machine. `fraction` of the images are drawn, at least `at_least`, at most half;
/// each class gives its share, and at least one image where the number allows it and one is left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationDraw {
    /// The part of the training images, 0 to 0.5.
    pub fraction: f64,
    /// At least so many images.
    pub at_least: usize,
    /// The seed.
    pub seed: u64,
}

impl Default for ValidationDraw {
    fn default() -> Self {
        Self { fraction: 0.02, at_least: 500, seed: 0 }
    }
}

impl ValidationDraw {
    /// How many of `n` images are drawn.
    pub fn count(&self, n: usize) -> usize {
        // A float-to-integer cast saturates, and a NaN counts as 0.
        ((self.fraction * n as f64).round() as usize).max(self.at_least).min(n / 2)
    }

    /// The rows drawn from images with `labels`, in rising order.
    pub fn rows(&self, labels: &[usize]) -> Vec<usize> {
        let mut keyed: BTreeMap<usize, Vec<(u64, usize)>> = BTreeMap::new();
        let mut generator = self.generator();
        for (row, label) in labels.iter().enumerate() {
            keyed.entry(*label).or_default().push((generator.next_u64(), row));
        }
        let sizes: Vec<usize> = keyed.values().map(Vec::len).collect();
        let quotas = apportion(self.count(labels.len()), &sizes);
        let mut rows = Vec::new();
        for (mut class, quota) in keyed.into_values().zip(quotas) {
            class.sort_unstable();
            rows.extend(class.into_iter().take(quota).map(|(_, row)| row));
        }
        rows.sort_unstable();
        rows
    }

    fn generator(&self) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        hash.update(b"rift validation draw 1");
        hash.update(self.seed.to_le_bytes());
        ChaCha8Rng::from_seed(hash.finalize().into())
    }
}

/// Shares `total` among classes of `sizes` by the largest remainders; a class with two images or
/// more gives at least one where `total` allows it, and none gives its last.
fn apportion(total: usize, sizes: &[usize]) -> Vec<usize> {
    let n: usize = sizes.iter().sum();
    let most = |class: usize| sizes[class].saturating_sub(1);
    let exact = |class: usize| total as u128 * sizes[class] as u128;
    let one_each = total >= sizes.iter().filter(|size| **size > 1).count();
    let mut quotas: Vec<usize> = (0..sizes.len())
        .map(|class| {
            let share = (exact(class) / n.max(1) as u128) as usize;
            share.max(usize::from(one_each)).min(most(class))
        })
        .collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|class| (std::cmp::Reverse(exact(*class) % n.max(1) as u128), *class));
    // Each round gives or takes one of each class at most, so shares stay close to exact.
    loop {
        let given: usize = quotas.iter().sum();
        let mut changed = false;
        if given < total {
            let able = order.iter().copied().filter(|c| quotas[*c] < most(*c));
            let chosen: Vec<usize> = able.take(total - given).collect();
            changed = !chosen.is_empty();
            for class in chosen {
                quotas[class] += 1;
            }
        } else if given > total {
            // Only the "at least one" can give too many: take from the largest.
            let largest = (0..quotas.len()).max_by_key(|c| (quotas[*c], std::cmp::Reverse(*c)));
            if let Some(class) = largest {
                quotas[class] -= 1;
                changed = true;
            }
        }
        if !changed {
            return quotas;
        }
    }
}

/// What is asked of a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    /// Which images.
    pub split: Split,
    /// Only the first so many of the split.
    pub limit: Option<usize>,
    /// How validation images are drawn.
    pub draw: ValidationDraw,
}

impl Request {
    /// All of a split, with the default draw.
    pub fn new(split: Split) -> Self {
        Self { split, limit: None, draw: ValidationDraw::default() }
    }

    /// Only the first `limit` images of the split.
    pub fn limit(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.limit = limit.into();
        self
    }

    /// The rows to serve of a part with `labels`, in the order of service.
    pub(super) fn rows(&self, labels: &[usize], order: Order) -> Vec<usize> {
        let mut rows: Vec<usize> = match self.split {
            Split::Test => (0..labels.len()).collect(),
            Split::Validation => self.draw.rows(labels),
            Split::Train => {
                let drawn = self.draw.rows(labels);
                (0..labels.len()).filter(|row| drawn.binary_search(row).is_err()).collect()
            }
        };
        if order == Order::Interleaved {
            interleave(&mut rows, labels);
        }
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        rows
    }
}

/// Brings rows into the order: first of each class, second of each class …
fn interleave(rows: &mut [usize], labels: &[usize]) {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut turn: BTreeMap<usize, usize> = BTreeMap::new();
    for row in rows.iter() {
        let count = seen.entry(labels[*row]).or_default();
        turn.insert(*row, *count);
        *count += 1;
    }
    rows.sort_by_key(|row| (turn[row], labels[*row]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uneven() -> Vec<usize> {
        (0..3000).map(|row| if row % 10 == 0 { 1 } else { usize::from(row == 17) * 2 }).collect()
    }

    #[test]
    fn names_of_splits() {
        for split in [Split::Train, Split::Validation, Split::Test] {
            assert_eq!(split.to_string().parse::<Split>().unwrap(), split);
        }
        let text = "dev".parse::<Split>().unwrap_err().to_string();
        assert_eq!(text, "unknown split `dev`, expected `train`, `validation` or `test`");
    }

    #[test]
    fn counts() {
        let draw = ValidationDraw::default();
        for (n, expected) in [(50_000, 1000), (10_000, 500), (600, 300), (1, 0), (0, 0)] {
            assert_eq!(draw.count(n), expected, "{n}");
        }
        for fraction in [f64::NAN, -1.0] {
            assert_eq!(ValidationDraw { fraction, at_least: 3, ..draw }.count(100), 3);
        }
        assert_eq!(ValidationDraw { fraction: f64::INFINITY, ..draw }.count(100), 50);
    }

    #[test]
    fn train_and_validation_share_nothing_and_leave_nothing() {
        let labels = uneven();
        let rows = |split| Request::new(split).rows(&labels, Order::Stored);
        let (train, validation) = (rows(Split::Train), rows(Split::Validation));
        assert_eq!(validation.len(), 500);
        let mut all = [train, validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..3000).collect::<Vec<_>>());
        let drawn = |class| validation.iter().filter(|row| labels[**row] == class).count();
        assert_eq!((drawn(0), drawn(1), drawn(2)), (450, 50, 0));
        assert_eq!(rows(Split::Test).len(), 3000);
    }

    #[test]
    fn the_draw_is_pinned() {
        // A change would move images between training and validation of every earlier run.
        let draw = ValidationDraw { fraction: 0.1, at_least: 0, seed: 0 };
        let labels: Vec<usize> = (0..60).map(|row| row % 3).collect();
        assert_eq!(draw.rows(&labels), PINNED);
        assert_ne!(ValidationDraw { seed: 1, ..draw }.rows(&labels), PINNED);
    }

    const PINNED: [usize; 6] = [19, 20, 25, 39, 44, 57];

    #[test]
    fn every_class_gives_one_where_there_are_enough() {
        // Class 0 is large, classes 1 to 9 have two images each.
        let labels: Vec<usize> =
            (0..982).map(|_| 0).chain((1..10).flat_map(|class| [class; 2])).collect();
        let draw = ValidationDraw { fraction: 0.02, at_least: 0, seed: 0 };
        let drawn: Vec<usize> = draw.rows(&labels).into_iter().map(|row| labels[row]).collect();
        assert_eq!(drawn.len(), 20);
        assert!((0..10).all(|class| drawn.contains(&class)), "{drawn:?}");
        assert_eq!(apportion(3, &[2, 2, 2, 2, 2]), [1, 1, 1, 0, 0]);
        assert_eq!(apportion(2, &[100, 3, 0, 1]), [1, 1, 0, 0]);
    }

    #[test]
    fn classes_take_turns_after_the_cut() {
        let labels = [[0; 40], [1; 40], [2; 40]].concat();
        let draw = ValidationDraw { fraction: 0.1, at_least: 0, seed: 0 };
        for split in [Split::Train, Split::Validation, Split::Test] {
            let request = Request { draw, ..Request::new(split).limit(9) };
            let rows = request.rows(&labels, Order::Interleaved);
            let served: Vec<usize> = rows.iter().map(|row| labels[*row]).collect();
            assert_eq!(served, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
        }
    }
}
