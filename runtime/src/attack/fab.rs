//! FAB-T: the nearest image of a target class, by steps onto the linearised boundary.
//!
//! # References
//! Croce & Hein 2020, arXiv 1907.02044, in the targeted form and with the parameters of AutoAttack.

use ndarray::ArrayView1;
use rift_models::threat::{NoiseKey, Norm};

use super::ball::Ball;
use super::walk::{Ask, Attack, Subject, Walk};
use crate::autodiff::Head;

/// The attack's name, in the noise's key.
pub const NAME: &str = "fab-t";

/// How far a step goes beyond the boundary.
const OVERSHOOT: f32 = 1.05;
/// The largest pull towards the image as it is.
const PULL: f32 = 0.1;
/// How much of its distance an adversarial image keeps when it goes back.
const BACK: f32 = 0.9;

/// FAB-T with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Fab {
    /// The norm.
    pub norm: Norm,
    /// The radius within which what is found counts.
    pub eps: f32,
    /// Steps towards one target.
    pub iterations: usize,
    /// Starts for each target: the first at the image as it is, the others at random.
    pub restarts: usize,
    /// How many of the most likely other classes are aimed at.
    pub targets: usize,
    /// The seed of the starts.
    pub seed: u64,
}

impl Attack for Fab {
    type Walk = FabWalk;

    fn head(&self) -> Option<Head> {
        Some(Head::LogitDifference)
    }

    fn reach(&self) -> (Norm, f32) {
        (self.norm, self.eps)
    }

    fn stays_within(&self) -> bool {
        false
    }

    fn begin(&self, subject: Subject) -> FabWalk {
        let targets = self.targets.min(subject.others.len()).max(1);
        FabWalk {
            attack: *self,
            targets,
            round: 0,
            steps: 0,
            nearest: f32::INFINITY,
            image: subject.centre.clone(),
            is_moved: false,
            subject,
        }
    }
}

/// An image on its way.
#[derive(Clone, Debug)]
pub struct FabWalk {
    attack: Fab,
    subject: Subject,
    targets: usize,
    /// Targets change fastest, so that every target is tried before any again.
    round: usize,
    steps: usize,
    /// The distance of the nearest adversarial image so far.
    nearest: f32,
    image: Vec<f32>,
    /// Whether the image has moved since its gradient was taken.
    is_moved: bool,
}

impl FabWalk {
    fn start(&mut self) {
        self.steps = 0;
        self.image.clone_from(&self.subject.centre);
        let restart = self.round / self.targets;
        if restart == 0 || restart >= self.attack.restarts {
            return;
        }
        let key = NoiseKey { seed: self.attack.seed, attack: NAME, restart: self.round as u32 };
        let mut stream = key.stream(self.subject.index);
        let noise: Vec<f32> = match self.attack.norm {
            Norm::Linf => self.image.iter().map(|_| 2.0 * stream.uniform() - 1.0).collect(),
            Norm::L2 => self.image.iter().map(|_| stream.normal()).collect(),
        };
        let size = self.attack.norm.of(noise.iter().copied()).max(f32::MIN_POSITIVE);
        let length = 0.5 * self.nearest.min(self.attack.eps);
        for (x, t) in self.image.iter_mut().zip(&noise) {
            *x = (*x + length * (t / size)).clamp(0.0, 1.0);
        }
    }
}

impl Walk for FabWalk {
    fn ask(&self) -> Ask {
        if self.round >= self.targets * self.attack.restarts {
            Ask::Nothing
        } else if self.is_moved {
            Ask::Logits
        } else {
            let target = self.subject.others[self.round % self.targets];
            Ask::Gradient { target, is_judged: false }
        }
    }

    fn image(&self) -> &[f32] {
        &self.image
    }

    /// Goes to a mixture of the boundary's nearest points to the iterate and to the image as it is.
    fn learn(&mut self, loss: f32, gradient: &[f32], _: bool) {
        let norm = self.attack.norm;
        let centre = &self.subject.centre;
        let scalar = |x: &[f32]| -> f64 {
            gradient.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
        };
        // The plane `w · z = w · x − loss`, on which the linearised difference of logits is 0.
        let here = -f64::from(loss);
        let there = scalar(&self.image) - f64::from(loss) - scalar(centre);
        let to_here = to_plane(norm, &self.image, gradient, here);
        let to_there = to_plane(norm, centre, gradient, there);
        let [a, b] = [&to_here, &to_there].map(|d| norm.of(d.iter().copied()).max(1e-8));
        let pull = (a / (a + b)).clamp(0.0, PULL);
        let moves = to_here.iter().zip(&to_there).zip(centre);
        for (x, ((d, e), x0)) in self.image.iter_mut().zip(moves) {
            let near = (*x + OVERSHOOT * d) * (1.0 - pull) + (x0 + OVERSHOOT * e) * pull;
            *x = near.clamp(0.0, 1.0);
        }
        self.is_moved = true;
    }

    fn hear(&mut self, logits: &ArrayView1<f32>, _: bool) {
        self.is_moved = false;
        if super::oracle::prediction(logits) != self.subject.label {
            let centre = &self.subject.centre;
            let ball = Ball { norm: self.attack.norm, eps: self.attack.eps, centre };
            self.nearest = self.nearest.min(ball.distance(&self.image));
            for (x, x0) in self.image.iter_mut().zip(centre) {
                *x = x0 + (*x - x0) * BACK;
            }
        }
        self.steps += 1;
        if self.steps >= self.attack.iterations {
            self.round += 1;
            self.start();
        }
    }
}

/// The smallest move from `x` within the box that raises `w · x` by `rise` (or lowers it by `−rise`);
/// as far as the box allows where no move does.
///
/// Every coordinate moves by `min(τ s_i, room_i)` in the direction that helps, with `s = 1` for L∞
/// and `s = |w|` for L2; the sum is piecewise linear in τ.
fn to_plane(norm: Norm, x: &[f32], w: &[f32], rise: f64) -> Vec<f32> {
    let way = if rise < 0.0 { -1.0 } else { 1.0 };
    let room = |x: f32, w: f32| if w * way > 0.0 { 1.0 - x } else { x };
    let speed = |w: f32| match norm {
        Norm::Linf => 1.0,
        Norm::L2 => f64::from(w.abs()),
    };
    let moving = x.iter().zip(w).filter(|(_, w)| **w != 0.0 && w.is_finite());
    let mut pieces: Vec<Piece> = moving
        .map(|(x, w)| Piece {
            end: f64::from(room(*x, *w)) / speed(*w),
            slope: f64::from(w.abs()) * speed(*w),
        })
        .collect();
    let tau = reach(&mut pieces, rise.abs());
    let one = |(x, w): (&f32, &f32)| {
        if *w == 0.0 || !w.is_finite() {
            return 0.0;
        }
        let length = (tau * speed(*w)).min(f64::from(room(*x, *w))) as f32;
        if w * way > 0.0 { length } else { -length }
    };
    x.iter().zip(w).map(one).collect()
}

/// A summand `slope · min(τ, end)`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    end: f64,
    slope: f64,
}

/// The τ at which the pieces sum to `goal`, in linear time by halving around medians; infinite where
/// they never do.
fn reach(pieces: &mut [Piece], goal: f64) -> f64 {
    let (mut low, mut high) = (0, pieces.len());
    let (mut ended, mut rising) = (0.0, 0.0);
    while low < high {
        let middle = low + (high - low) / 2;
        pieces[low..high].select_nth_unstable_by(middle - low, |a, b| a.end.total_cmp(&b.end));
        let end = pieces[middle].end;
        let below: f64 = pieces[low..=middle].iter().map(|p| p.slope * p.end).sum();
        let above: f64 = pieces[middle + 1..high].iter().map(|p| p.slope).sum();
        if ended + below + end * (rising + above) >= goal {
            rising += above + pieces[middle].slope;
            high = middle;
        } else {
            ended += below;
            low = middle + 1;
        }
    }
    if rising > 0.0 { ((goal - ended) / rising).max(0.0) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(w: &[f32], d: &[f32]) -> f64 {
        w.iter().zip(d).map(|(w, d)| f64::from(*w) * f64::from(*d)).sum()
    }

    #[test]
    fn the_move_reaches_the_plane_and_no_shorter_one_does() {
        for norm in [Norm::Linf, Norm::L2] {
            for seed in 0..40 {
                let mut stream = NoiseKey { seed, attack: "test", restart: 0 }.stream(0);
                let n = 1 + stream.below(30);
                let x: Vec<f32> = (0..n).map(|_| stream.uniform()).collect();
                let w: Vec<f32> = (0..n).map(|_| stream.normal()).collect();
                let far: f64 = x
                    .iter()
                    .zip(&w)
                    .map(|(x, w)| f64::from(w.abs() * if *w > 0.0 { 1.0 - x } else { *x }))
                    .sum();
                let rise = far * f64::from(stream.uniform());
                let d = to_plane(norm, &x, &w, rise);
                assert!((scalar(&w, &d) - rise).abs() < 1e-5, "{norm} {seed}");
                assert!(x.iter().zip(&d).all(|(x, d)| (-1e-6..=1.0 + 1e-6).contains(&(x + d))));
                let length = norm.of(d.iter().copied());
                // By bisection over the length, or the multiplier for L2.
                let (mut low, mut high) = (0.0_f64, 1e6);
                let moved = |t: f64| -> Vec<f32> {
                    let one = |(x, w): (&f32, &f32)| {
                        let s = if norm == Norm::Linf { 1.0 } else { f64::from(w.abs()) };
                        let room = if *w > 0.0 { 1.0 - x } else { *x };
                        ((t * s).min(f64::from(room)) as f32).copysign(*w)
                    };
                    x.iter().zip(&w).map(one).collect()
                };
                for _ in 0..200 {
                    let middle = f64::midpoint(low, high);
                    let is_short = scalar(&w, &moved(middle)) < rise;
                    (low, high) = if is_short { (middle, high) } else { (low, middle) };
                }
                let expected = norm.of(moved(high));
                assert!((length - expected).abs() < 1e-4, "{norm} {seed}: {length} {expected}");
            }
        }
    }

    #[test]
    fn a_plane_out_of_reach_is_approached_and_no_gradient_moves_nothing() {
        let d = to_plane(Norm::Linf, &[0.25, 0.5], &[1.0, -1.0], 100.0);
        assert_eq!(d, [0.75, -0.5]);
        assert_eq!(to_plane(Norm::L2, &[0.25, 0.5], &[0.0, f32::NAN], 1.0), [0.0, 0.0]);
        let down = to_plane(Norm::Linf, &[0.5, 0.5], &[2.0, 2.0], -0.4);
        assert!(down.iter().all(|d| (d + 0.1).abs() < 1e-6), "{down:?}");
    }
}
