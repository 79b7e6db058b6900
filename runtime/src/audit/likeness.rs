//! Whether two answers about one image are the same but for rounding.
//!
//! What a classifier says is how its logits lie to each other, so they are compared by how far each
//! is below the largest: a constant added to all, or one class that is never to win and stands at
//! −10⁶, hides nothing.

use ndarray::{Array2, ArrayView1};

use crate::attack::oracle::prediction;

/// What the final additions of large numbers may cost, relative to a logit's size.
const ROUNDING: f64 = 64.0 * f32::EPSILON as f64;
/// How near a tie two classes must be for either to be the larger by rounding alone, likewise.
const TIE: f64 = 16.0 * f32::EPSILON as f64;

/// How alike two answers must be, relative to how far the leading logits lie apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Likeness {
    /// How far a logit may have moved.
    moved: f64,
    /// How far two classes that change places may have moved past each other.
    passed: f64,
    /// What the leading logits are at least taken to lie apart.
    floor: f64,
    /// How many logits follow the first among the leading ones; never more than half.
    followers: usize,
}

impl Likeness {
    /// The same images, the same kernels.
    pub(super) const AGAIN: Self = Self { moved: 1e-4, passed: 0.0, floor: 0.01, followers: 1 };
    /// Images in other places of a batch of the same size.
    pub(super) const PLACED: Self = Self { moved: 1e-4, passed: 0.0, floor: 1.0, followers: 2 };
    /// Batches of another size, which may have other kernels.
    pub(super) const SIZED: Self = Self { moved: 1e-3, passed: 1e-4, floor: 1.0, followers: 2 };
    /// The same of a model that rounds coarsely, where a step more or less is no other answer.
    pub(super) const SIZED_COARSELY: Self =
        Self { moved: 0.2, passed: 0.2, floor: 0.0, followers: usize::MAX };

    /// Whether row `row` of two answers differs by more.
    pub(super) fn differs(self, a: &Array2<f32>, b: &Array2<f32>, row: usize) -> bool {
        let (a, b) = (a.row(row), b.row(row));
        let is_other = |(a, b): (&f32, &f32)| {
            let are_finite = a.is_finite() && b.is_finite();
            let are_none = a.is_nan() && b.is_nan();
            !are_finite && !are_none && a != b
        };
        if a.iter().zip(&b).any(is_other) {
            return true;
        }
        let [first, second] = [sorted(&a), sorted(&b)];
        let ([top_a, ..], [top_b, ..]) = (&first[..], &second[..]) else { return false };
        let apart = self.apart(&first).min(self.apart(&second));
        let has_moved = |(a, b): (&f32, &f32)| {
            let (a, b) = (f64::from(*a), f64::from(*b));
            let size = [a, b, *top_a, *top_b].iter().fold(0.0_f64, |size, z| size.max(z.abs()));
            let moved = ((a - top_a) - (b - top_b)).abs();
            moved > self.moved * apart.max(self.floor) + ROUNDING * size
        };
        let finite = a.iter().zip(&b).filter(|(a, _)| a.is_finite());
        self.has_turned((&a, &b), apart) || finite.into_iter().any(has_moved)
    }

    /// How far the first of the leading logits is from the last.
    fn apart(self, sorted: &[f64]) -> f64 {
        let last = self.followers.min(sorted.len() / 2).max(1).min(sorted.len() - 1);
        sorted[0] - sorted[last]
    }

    /// Whether another class wins, by more than a tie that falls this way or that.
    fn has_turned(self, (a, b): (&ArrayView1<f32>, &ArrayView1<f32>), apart: f64) -> bool {
        let (was, is) = (prediction(a), prediction(b));
        let [was_first, is_second] = [a[was], a[is]].map(f64::from);
        let [was_second, is_first] = [b[was], b[is]].map(f64::from);
        let passed = (was_first - is_second) + (is_first - was_second);
        let size = was_first.abs().max(is_first.abs()).max(1.0);
        was != is && passed > self.passed * apart + TIE * size
    }
}

/// The finite logits, the largest first.
fn sorted(row: &ArrayView1<f32>) -> Vec<f64> {
    let mut finite: Vec<f64> =
        row.iter().filter(|logit| logit.is_finite()).map(|logit| f64::from(*logit)).collect();
    finite.sort_by(|a, b| b.total_cmp(a));
    finite
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Likeness; 4] =
        [Likeness::AGAIN, Likeness::PLACED, Likeness::SIZED, Likeness::SIZED_COARSELY];

    fn differs(how: Likeness, a: &[f32], b: &[f32]) -> bool {
        let [a, b] =
            [a, b].map(|row| Array2::from_shape_vec((1, row.len()), row.to_vec()).unwrap());
        how.differs(&a, &b, 0)
    }

    #[test]
    fn neither_a_logit_far_below_nor_a_shift_hides_a_difference() {
        let (a, b) = ([3.0, 1.0, 0.0, -1.0, 2.0], [3.0, 2.9, 0.5, -1.0, 2.0]);
        for (add, masked) in [(0.0, -1e6), (1e4, -5.0), (-1e4, -1e6)] {
            let row = |logits: [f32; 5]| -> Vec<f32> {
                logits.iter().map(|logit| logit + add).chain([masked]).collect()
            };
            for how in ALL {
                assert!(differs(how, &row(a), &row(b)), "{how:?} {add} {masked}");
                assert!(!differs(how, &row(a), &row(a)), "{how:?} {add} {masked}");
            }
        }
    }

    #[test]
    fn another_class_is_another_answer_but_for_a_tie() {
        let (near, turned) = ([2.0, 2.0 + 2e-7, 0.0, -4.0], [2.0 + 2e-7, 2.0, 0.0, -4.0]);
        for how in ALL {
            assert!(!differs(how, &near, &turned), "{how:?}");
            assert!(differs(how, &[2.0, 0.0, -1.0, -4.0], &[0.0, 2.0, -1.0, -4.0]), "{how:?}");
        }
        // However small the logits are.
        let small = [1e-5, 3e-5, 0.0, -1e-5];
        let other = [3e-5, 1e-5, 0.0, -1e-5];
        for how in [Likeness::AGAIN, Likeness::PLACED, Likeness::SIZED] {
            assert!(differs(how, &small, &other), "{how:?}");
        }
    }

    #[test]
    fn rounding_is_no_difference() {
        for (size, rounding) in [(1.0_f32, 1e-6_f32), (1e3, 1e-3), (1e-3, 1e-7)] {
            let a = [3.0 * size, 2.9 * size, -size, -4.0 * size];
            let b = a.map(|logit| logit + rounding);
            let c = [a[0] + rounding, a[1] - rounding, a[2], a[3]];
            for how in ALL {
                assert!(!differs(how, &a, &b) && !differs(how, &a, &c), "{how:?} {size}");
            }
        }
        // An eighth bit more or less is none either, of a model that has no more of them.
        let (a, b) = ([3.0, 2.0, 0.0, -4.0], [3.04, 1.96, 0.0, -4.0]);
        assert!(!differs(Likeness::SIZED_COARSELY, &a, &b) && differs(Likeness::SIZED, &a, &b));
    }

    #[test]
    fn what_is_not_finite_must_stay_so() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for how in ALL {
            assert!(!differs(how, &[nan, 1.0, inf, 0.0], &[nan, 1.0, inf, 0.0]), "{how:?}");
            assert!(!differs(how, &[nan, nan], &[nan, nan]), "{how:?}");
            for other in [[0.0, 1.0, inf, 0.0], [nan, 1.0, 2.0, 0.0], [nan, 1.0, -inf, 0.0]] {
                assert!(differs(how, &[nan, 1.0, inf, 0.0], &other), "{how:?} {other:?}");
            }
        }
    }
}
