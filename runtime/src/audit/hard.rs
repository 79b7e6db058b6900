//! Answers that say which class it is and next to nothing of how near the others are.
//!
//! What is left of the logits then points the way to no class in particular: an attack that follows
//! their gradient is blunt, although the gradient is neither 0 nor wrong.

use ndarray::{Array2, ArrayView1};

/// By how much more than the others lie apart the first must stand out from the second.
const DWARFED: f32 = 1e3;
/// What margins may differ by, relative to the largest, and count as one.
const ONE: f32 = 1e-3;
/// Images whose margins tell anything of the model.
const FEW: usize = 4;

/// How many of the answers, a row each, are all but hard.
///
/// By itself that is one whose second class is as good as level with the others. All of them are if
/// their margins are all but equal, though not all for one class, as a network that is dead has it.
pub(super) fn hard(rows: &Array2<f32>) -> usize {
    let answers: Vec<Answer> = rows.rows().into_iter().filter_map(|row| Answer::of(&row)).collect();
    let (mut least, mut most) = (f32::INFINITY, 0.0_f32);
    for answer in &answers {
        (least, most) = (least.min(answer.margin), most.max(answer.margin));
    }
    let is_one = most > 0.0 && most - least <= ONE * most;
    let several = answers.windows(2).any(|pair| pair[0].class != pair[1].class);
    if is_one && several && answers.len() >= FEW {
        return answers.len();
    }
    answers.iter().filter(|answer| answer.dwarfs).count()
}

struct Answer {
    class: usize,
    /// The first logit less the second.
    margin: f32,
    /// Whether that is far more than the second is above most of the others.
    dwarfs: bool,
}

impl Answer {
    /// That of a row; none where a logit is not finite.
    fn of(row: &ArrayView1<f32>) -> Option<Self> {
        if row.len() < 2 || row.iter().any(|logit| !logit.is_finite()) {
            return None;
        }
        let mut ranked: Vec<usize> = (0..row.len()).collect();
        ranked.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        let (first, others) = (ranked[0], &ranked[1..]);
        let second = row[others[0]];
        let margin = row[first] - second;
        let spread = second - row[others[others.len() / 2]];
        let dwarfs = others.len() > 1 && margin > DWARFED * spread;
        Some(Self { class: first, margin, dwarfs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_models::numbers;

    /// Logits of an honest model, which is as sure of itself as `scale` says.
    fn honest(classes: usize, scale: f32) -> Array2<f32> {
        let mut rows = Array2::from_shape_vec((24, classes), numbers(3, 24 * classes, scale));
        for (n, mut row) in rows.iter_mut().flat_map(|rows| rows.outer_iter_mut()).enumerate() {
            row[n % classes] += 4.0 * scale;
        }
        rows.unwrap()
    }

    /// The largest 1 and the others 0, with so much left of what they were.
    fn hardened(rows: &Array2<f32>, left: f32) -> Array2<f32> {
        let mut hard = rows * left;
        for (row, mut to) in rows.outer_iter().zip(hard.outer_iter_mut()) {
            to[crate::attack::oracle::prediction(&row)] += 1.0;
        }
        hard
    }

    #[test]
    fn honest_answers_are_not_hard_however_sure() {
        for classes in [2, 3, 4, 10, 1000] {
            for scale in [1e-4, 1.0, 1e4] {
                // One may happen to have its other classes level.
                let hard = hard(&honest(classes, scale));
                assert!(hard <= 1, "{hard} {classes} {scale}");
            }
        }
        // One-hot targets learnt by squared error, but for a few hundredths.
        let learnt = hardened(&honest(10, 1.0), 0.02);
        assert!(hard(&learnt) <= 1);
        // Dead, all of one class, and too few to tell.
        assert_eq!(hard(&Array2::zeros((24, 4))), 0);
        assert_eq!(hard(&Array2::from_shape_fn((24, 2), |(_, class)| class as f32)), 0);
        assert_eq!(hard(&Array2::eye(2)), 0);
        assert_eq!(hard(&Array2::from_elem((24, 4), f32::NAN)), 0);
    }

    #[test]
    fn what_hardly_moves_from_one_hot_is_hard() {
        for classes in [2, 3, 10, 1000] {
            for left in [1e-7, -1e-7, 0.0] {
                assert_eq!(hard(&hardened(&honest(classes, 1.0), left)), 24, "{classes} {left}");
            }
        }
        // With a margin of its own for every image.
        let mut rows = hardened(&honest(10, 1.0), 1e-7);
        for (n, mut row) in rows.outer_iter_mut().enumerate() {
            row *= 1.0 + n as f32;
        }
        assert_eq!(hard(&rows), 24);
    }
}
