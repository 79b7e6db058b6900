//! Auto-PGD: gradient ascent with momentum that halves its step where it no longer gets anywhere.
//!
//! # References
//! Croce & Hein 2020, arXiv 2003.01690, algorithm 1, with the parameters of AutoAttack. Two details
//! differ from the published program: the oscillation count at the first checkpoint compares the
//! first loss with that of the start (there: with 0), and cross-entropy is followed by its log-odds,
//! which have the same order and direction but do not saturate.

use ndarray::ArrayView1;
use rift_models::threat::{NoiseKey, Norm};

use super::ball::Ball;
use super::walk::{Ask, Attack, Subject, Walk};
use crate::autodiff::Head;

/// The share of the last step in the next point; the rest is momentum.
const FRESH: f32 = 0.75;
/// The share of steps that must raise the loss, lest the step is halved (ρ).
const RISING: f32 = 0.75;

/// Auto-PGD with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Apgd {
    /// The attack's name, in the noise's key.
    pub name: &'static str,
    /// The loss.
    pub head: Head,
    /// The norm.
    pub norm: Norm,
    /// The radius.
    pub eps: f32,
    /// Steps of one restart; each takes a gradient, and the start one more.
    pub iterations: usize,
    /// Random starts, for each target.
    pub restarts: usize,
    /// How many of the most likely other classes are aimed at; 0 for losses without a target.
    pub targets: usize,
    /// Whether a broken image leaves at once; otherwise after its restart.
    pub early_stop: bool,
    /// The seed of the starts.
    pub seed: u64,
}

impl Attack for Apgd {
    type Walk = ApgdWalk;

    fn head(&self) -> Option<Head> {
        Some(self.head)
    }

    fn reach(&self) -> (Norm, f32) {
        (self.norm, self.eps)
    }

    fn begin(&self, subject: Subject) -> ApgdWalk {
        let targets = self.targets.min(subject.others.len()).max(1);
        let mut walk = ApgdWalk {
            attack: *self,
            rounds: targets * self.restarts,
            round: 0,
            is_broken: false,
            image: subject.centre.clone(),
            ascent: Ascent::default(),
            subject,
        };
        walk.start();
        walk
    }
}

/// An image on its way.
#[derive(Clone, Debug)]
pub struct ApgdWalk {
    attack: Apgd,
    subject: Subject,
    rounds: usize,
    round: usize,
    is_broken: bool,
    image: Vec<f32>,
    ascent: Ascent,
}

/// The state of one restart.
#[derive(Clone, Debug, Default)]
struct Ascent {
    previous: Vec<f32>,
    gradient: Vec<f32>,
    best: Vec<f32>,
    best_gradient: Vec<f32>,
    best_loss: f32,
    /// The loss of the start and of every step since.
    losses: Vec<f32>,
    step: f32,
    /// Steps from one checkpoint to the next, and since the last.
    period: usize,
    since: usize,
    best_at_check: f32,
    was_halved: bool,
}

impl ApgdWalk {
    fn ball(&self) -> Ball<'_> {
        Ball { norm: self.attack.norm, eps: self.attack.eps, centre: &self.subject.centre }
    }

    /// Goes to the start of the current round: a random point that reaches the edge of the ball.
    fn start(&mut self) {
        let attack = &self.attack;
        let key = NoiseKey { seed: attack.seed, attack: attack.name, restart: self.round as u32 };
        let mut stream = key.stream(self.subject.index);
        let centre = &self.subject.centre;
        let noise: Vec<f32> = match attack.norm {
            Norm::Linf => centre.iter().map(|_| 2.0 * stream.uniform() - 1.0).collect(),
            Norm::L2 => centre.iter().map(|_| stream.normal()).collect(),
        };
        let size = attack.norm.of(noise.iter().copied()).max(f32::MIN_POSITIVE);
        let mut image: Vec<f32> =
            centre.iter().zip(&noise).map(|(x, t)| x + attack.eps * (t / size)).collect();
        self.ball().project(&mut image);
        self.image = image;
        let period = (0.22 * attack.iterations as f64) as usize;
        self.ascent = Ascent {
            step: 2.0 * attack.eps,
            period: period.max(1),
            was_halved: true,
            ..Ascent::default()
        };
    }

    /// One step with momentum from the current point.
    fn advance(&mut self) {
        let mut ahead = self.image.clone();
        self.ball().step(&mut ahead, &self.ascent.gradient, self.ascent.step);
        let is_first = self.ascent.losses.len() == 1;
        let fresh = if is_first { 1.0 } else { FRESH };
        let before = if is_first { &self.image } else { &self.ascent.previous };
        let mut next: Vec<f32> = self.image.clone();
        for ((x, z), old) in next.iter_mut().zip(&ahead).zip(before) {
            *x = *x + (z - *x) * fresh + (*x - old) * (1.0 - fresh);
        }
        self.ball().project(&mut next);
        self.ascent.previous = std::mem::replace(&mut self.image, next);
    }
}

impl Ascent {
    /// Takes the loss and gradient of `image`.
    fn learn(&mut self, loss: f32, gradient: &[f32], image: &[f32]) {
        self.gradient.clear();
        self.gradient.extend_from_slice(gradient);
        let is_first = self.losses.is_empty();
        self.losses.push(loss);
        if is_first || loss > self.best_loss {
            self.best_loss = loss;
            self.best = image.to_vec();
            self.best_gradient = gradient.to_vec();
        }
        if is_first {
            self.best_at_check = loss;
        }
    }

    /// At a checkpoint, decides whether the step is halved; then the walk goes on from the best point.
    fn check(&mut self, iterations: usize) -> bool {
        self.since += 1;
        if self.since < self.period {
            return false;
        }
        let last = &self.losses[self.losses.len() - self.period - 1..];
        let rises = last.windows(2).filter(|pair| pair[1] > pair[0]).count();
        let oscillates = rises as f32 <= RISING * self.period as f32;
        let is_stuck = !self.was_halved && self.best_at_check >= self.best_loss;
        let halves = oscillates || is_stuck;
        self.was_halved = halves;
        self.best_at_check = self.best_loss;
        self.since = 0;
        let share = |part: f64| ((part * iterations as f64) as usize).max(1);
        self.period = self.period.saturating_sub(share(0.03)).max(share(0.06));
        if halves {
            self.step /= 2.0;
            self.gradient.clone_from(&self.best_gradient);
        }
        halves
    }
}

impl Walk for ApgdWalk {
    fn ask(&self) -> Ask {
        if self.round >= self.rounds {
            return Ask::Nothing;
        }
        let target = self.subject.others[self.round / self.attack.restarts];
        Ask::Gradient { target, is_judged: true }
    }

    fn image(&self) -> &[f32] {
        &self.image
    }

    fn learn(&mut self, loss: f32, gradient: &[f32], is_broken: bool) {
        self.is_broken |= is_broken;
        let is_first = self.ascent.losses.is_empty();
        self.ascent.learn(loss, gradient, &self.image);
        if !is_first && self.ascent.check(self.attack.iterations) {
            self.image.clone_from(&self.ascent.best);
        }
        if self.ascent.losses.len() <= self.attack.iterations {
            self.advance();
        } else {
            self.round = if self.is_broken { self.rounds } else { self.round + 1 };
            if self.round < self.rounds {
                self.start();
            }
        }
    }

    fn hear(&mut self, _: &ArrayView1<f32>, _: bool) {}

    fn goes_on(&self) -> bool {
        !self.attack.early_stop && self.round < self.rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps after which a run of 100 is checked.
    fn checkpoints() -> Vec<usize> {
        let mut ascent = Ascent { period: 22, step: 1.0, ..Ascent::default() };
        ascent.learn(0.0, &[0.0], &[0.0]);
        let mut found = Vec::new();
        for step in 1..=100 {
            ascent.learn(step as f32, &[0.0], &[0.0]);
            let _ = ascent.check(100);
            if ascent.since == 0 {
                found.push(step);
            }
        }
        assert_eq!(ascent.step, 1.0, "a loss that always rises never halves the step");
        found
    }

    #[test]
    fn checks_when_autoattack_does() {
        assert_eq!(checkpoints(), [22, 41, 57, 70, 80, 87, 93, 99]);
    }

    #[test]
    fn halves_where_the_loss_oscillates_and_returns_to_the_best() {
        let mut ascent = Ascent { period: 4, step: 1.0, was_halved: true, ..Ascent::default() };
        for (at, loss) in [0.0, 3.0, 1.0, 2.0].into_iter().enumerate() {
            ascent.learn(loss, &[at as f32], &[at as f32]);
            assert!(at == 0 || !ascent.check(10));
        }
        ascent.learn(1.5, &[4.0], &[4.0]);
        assert!(ascent.check(10));
        assert_eq!((ascent.step, ascent.best_loss), (0.5, 3.0));
        assert_eq!((&ascent.gradient[..], &ascent.best[..]), (&[1.0][..], &[1.0][..]));
    }
}
