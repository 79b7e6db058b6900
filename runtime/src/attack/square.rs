//! Square: random search by squares, which asks for logits alone.
//!
//! # References
//! Andriushchenko et al. 2020, arXiv 1912.00049, with the parameters of AutoAttack; for fewer or more
//! than its 5,000 queries the squares shrink in the same proportion, as in the paper. Every image has
//! its own squares here, where the published program draws one for the whole batch, and a square
//! may also lie at the far edge, where the published program never puts one.

use ndarray::ArrayView1;
use rift_models::threat::{NoiseKey, Norm, Stream};

use super::oracle::margin;
use super::walk::{Ask, Attack, Subject, Walk};
use crate::autodiff::Head;

/// The attack's name, in the noise's key.
pub const NAME: &str = "square";

/// The share of the image that the first squares cover.
const FIRST_SHARE: f64 = 0.8;
/// After how many queries of [`USUAL`] the share is halved, again and again.
const HALVINGS: [usize; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];

/// AutoAttack's number of queries. With others the squares shrink as much sooner or later.
const USUAL: usize = 5000;

/// Square with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Square {
    /// The norm.
    pub norm: Norm,
    /// The radius.
    pub eps: f32,
    /// Queries after that of the start.
    pub queries: usize,
    /// Independent searches, of which the worst counts.
    pub restarts: usize,
    /// The shape of an image, C × H × W.
    pub input: [usize; 3],
    /// The seed of the search.
    pub seed: u64,
}

impl Attack for Square {
    type Walk = SquareWalk;

    fn head(&self) -> Option<Head> {
        None
    }

    fn reach(&self) -> (Norm, f32) {
        (self.norm, self.eps)
    }

    fn begin(&self, subject: Subject) -> SquareWalk {
        let stream = self.stream(&subject, 0);
        let mut walk = SquareWalk {
            attack: *self,
            restart: 0,
            query: 0,
            lowest: f32::INFINITY,
            best: subject.centre.clone(),
            image: subject.centre.clone(),
            stream,
            subject,
        };
        walk.start();
        walk
    }
}

impl Square {
    fn stream(&self, subject: &Subject, restart: usize) -> Stream {
        let key = NoiseKey { seed: self.seed, attack: NAME, restart: restart as u32 };
        key.stream(subject.index)
    }

    /// The side of the square of query `query`.
    fn side(&self, query: usize) -> usize {
        let [_, h, w] = self.input;
        let halved = |after: &&usize| query * USUAL > **after * self.queries;
        let halvings = HALVINGS.iter().filter(halved).count() as i32;
        let share = FIRST_SHARE / 2.0_f64.powi(halvings);
        let side = (share * (h * w) as f64).sqrt().round() as usize;
        match self.norm {
            Norm::Linf => side.max(1).min(h.min(w)),
            // Odd, so that there is a centre.
            Norm::L2 => (side.max(3) | 1).min(h.min(w)),
        }
    }
}

/// An image on its way.
#[derive(Clone, Debug)]
pub struct SquareWalk {
    attack: Square,
    subject: Subject,
    restart: usize,
    query: usize,
    lowest: f32,
    best: Vec<f32>,
    image: Vec<f32>,
    stream: Stream,
}

/// A square of the image.
#[derive(Clone, Copy, Debug)]
struct Window {
    top: usize,
    left: usize,
    side: usize,
    input: [usize; 3],
}

impl Window {
    /// The positions of the window in one channel, row by row.
    fn of(self, channel: usize) -> impl Iterator<Item = usize> {
        let [_, h, w] = self.input;
        (self.top..self.top + self.side).flat_map(move |row| {
            let start = (channel * h + row) * w + self.left;
            start..start + self.side
        })
    }

    /// Whether a position of any channel lies in the window.
    fn has(self, at: usize) -> bool {
        let [_, h, w] = self.input;
        let (row, column) = (at / w % h, at % w);
        (self.top..self.top + self.side).contains(&row)
            && (self.left..self.left + self.side).contains(&column)
    }
}

impl SquareWalk {
    fn window(&mut self, side: usize) -> Window {
        let [_, h, w] = self.attack.input;
        let top = self.stream.below(h - side + 1);
        let left = self.stream.below(w - side + 1);
        Window { top, left, side, input: self.attack.input }
    }

    fn start(&mut self) {
        self.query = 0;
        self.lowest = f32::INFINITY;
        self.stream = self.attack.stream(&self.subject, self.restart);
        self.image = match self.attack.norm {
            Norm::Linf => self.stripes(),
            Norm::L2 => self.tiles(),
        };
    }

    /// Vertical stripes one pixel wide, up or down by ε.
    fn stripes(&mut self) -> Vec<f32> {
        let [c, h, w] = self.attack.input;
        let mut image = self.subject.centre.clone();
        for channel in 0..c {
            let signs: Vec<f32> = (0..w).map(|_| self.stream.sign()).collect();
            for row in 0..h {
                for (column, sign) in signs.iter().enumerate() {
                    let value = &mut image[(channel * h + row) * w + column];
                    *value = (*value + self.attack.eps * sign).clamp(0.0, 1.0);
                }
            }
        }
        image
    }

    /// Bumps side by side over the whole image, five in a row.
    fn tiles(&mut self) -> Vec<f32> {
        let input = self.attack.input;
        let [c, h, w] = input;
        let side = (h / 5).max(1).min(w);
        let first = (h - side * (h / side).min(5)) / 2;
        let mut delta = vec![0.0; c * h * w];
        for top in (first..=h - side).step_by(side) {
            for left in (first..=w - side).step_by(side) {
                let bump = self.bump(side);
                for channel in 0..c {
                    let sign = self.stream.sign();
                    let window = Window { top, left, side, input };
                    for (at, value) in window.of(channel).zip(&bump) {
                        delta[at] += value * sign;
                    }
                }
            }
        }
        self.at_radius(&delta)
    }

    /// The image moved by `delta`, stretched to ε.
    fn at_radius(&self, delta: &[f32]) -> Vec<f32> {
        let size = Norm::L2.of(delta.iter().copied()).max(1e-12);
        let moved = self.subject.centre.iter().zip(delta);
        moved.map(|(x, d)| (x + self.attack.eps * (d / size)).clamp(0.0, 1.0)).collect()
    }

    /// Two bumps of opposite sign, side by side or one above the other, with norm 1.
    fn bump(&mut self, side: usize) -> Vec<f32> {
        let mut bump = vec![0.0; side * side];
        let half = side / 2;
        for (rows, start, sign) in [(half, 0, 1.0), (side - half, half, -1.0)] {
            for (at, value) in pyramid(rows, side).into_iter().enumerate() {
                bump[start * side + at] = sign * value;
            }
        }
        let size = Norm::L2.of(bump.iter().copied()).max(1e-12);
        let is_turned = self.stream.uniform() > 0.5;
        let from = |at: usize| if is_turned { (at % side) * side + at / side } else { at };
        (0..side * side).map(|at| bump[from(at)] / size).collect()
    }

    fn propose(&mut self) {
        let side = self.attack.side(self.query);
        self.image = match self.attack.norm {
            Norm::Linf => self.propose_linf(side),
            Norm::L2 => self.propose_l2(side),
        };
    }

    fn propose_linf(&mut self, side: usize) -> Vec<f32> {
        let window = self.window(side);
        let eps = self.attack.eps;
        let mut image = self.best.clone();
        for channel in 0..self.attack.input[0] {
            let push = 2.0 * eps * self.stream.sign();
            for at in window.of(channel) {
                let x = self.subject.centre[at];
                image[at] = (image[at] + push).max(x - eps).min(x + eps).clamp(0.0, 1.0);
            }
        }
        image
    }

    /// Takes the perturbation's mass out of one window and puts a bump with it into another.
    fn propose_l2(&mut self, side: usize) -> Vec<f32> {
        let channels = self.attack.input[0];
        let (to, from) = (self.window(side), self.window(side));
        let mut delta: Vec<f32> =
            self.best.iter().zip(&self.subject.centre).map(|(a, b)| a - b).collect();
        let square = |d: f32| f64::from(d) * f64::from(d);
        let all: f64 = delta.iter().map(|d| square(*d)).sum();
        // What clipping to the box has cost, shared by the channels.
        let spare = (square(self.attack.eps) - all).max(0.0) / channels as f64;
        let bump = self.bump(side);
        let mut fresh = Vec::new();
        for channel in 0..channels {
            let union = to.of(channel).chain(from.of(channel).filter(|at| !to.has(*at)));
            let mass = (spare + union.map(|at| square(delta[at])).sum::<f64>()).sqrt() as f32;
            let held: f64 = to.of(channel).map(|at| square(delta[at])).sum::<f64>().sqrt();
            let sign = self.stream.sign();
            let mixed: Vec<f32> = to
                .of(channel)
                .zip(&bump)
                .map(|(at, bump)| sign * bump + delta[at] / (1e-12 + held as f32))
                .collect();
            let size = Norm::L2.of(mixed.iter().copied()).max(1e-12);
            fresh.push(mixed.into_iter().map(|d| d / size * mass).collect::<Vec<f32>>());
        }
        for at in (0..channels).flat_map(|channel| from.of(channel)) {
            delta[at] = 0.0;
        }
        for (channel, fresh) in fresh.iter().enumerate() {
            for (at, value) in to.of(channel).zip(fresh) {
                delta[at] = *value;
            }
        }
        self.at_radius(&delta)
    }
}

/// A pyramid of `rows × columns` whose layers, each a pixel wider all round, weigh 1, 1/4, 1/9 …, with
/// norm 1.
fn pyramid(rows: usize, columns: usize) -> Vec<f32> {
    let mut values = vec![0.0; rows * columns];
    let (middle_row, middle_column) = ((rows / 2) as i64, (columns / 2) as i64);
    let layers = rows.max(columns) / 2 + 1;
    for layer in 0..layers as i64 {
        let weight = 1.0 / ((layer + 1) * (layer + 1)) as f32;
        let span = |middle: i64, length: usize| {
            let end = (middle + layer + 1).clamp(0, length as i64) as usize;
            ((middle - layer).max(0) as usize).min(end)..end
        };
        for row in span(middle_row, rows) {
            for column in span(middle_column, columns) {
                values[row * columns + column] += weight;
            }
        }
    }
    let size = Norm::L2.of(values.iter().copied()).max(1e-12);
    values.into_iter().map(|value| value / size).collect()
}

impl Walk for SquareWalk {
    fn ask(&self) -> Ask {
        if self.restart < self.attack.restarts { Ask::Logits } else { Ask::Nothing }
    }

    fn image(&self) -> &[f32] {
        &self.image
    }

    fn learn(&mut self, _: f32, _: &[f32], _: bool) {}

    fn hear(&mut self, logits: &ArrayView1<f32>, _: bool) {
        let margin = margin(logits, self.subject.label);
        if margin < self.lowest || self.query == 0 {
            self.lowest = margin;
            self.best.clone_from(&self.image);
        }
        if self.query == self.attack.queries {
            self.restart += 1;
            if self.restart < self.attack.restarts {
                self.start();
            }
            return;
        }
        self.propose();
        self.query += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(norm: Norm, eps: f32) -> Square {
        Square { norm, eps, queries: 300, restarts: 1, input: [3, 32, 32], seed: 0 }
    }

    #[test]
    fn squares_shrink_as_autoattacks() {
        let square = Square { queries: 5000, ..square(Norm::Linf, 0.1) };
        let sides = [0, 10, 11, 51, 201, 501, 1001, 2001, 4001].map(|query| square.side(query));
        assert_eq!(sides, [29, 29, 20, 14, 10, 7, 5, 4, 3]);
        let few = Square { queries: 500, ..square };
        let sides = [0, 1, 2, 6, 21, 51, 101, 201, 401].map(|query| few.side(query));
        assert_eq!(sides, [29, 29, 20, 14, 10, 7, 5, 4, 3]);
        let l2 = Square { norm: Norm::L2, ..square };
        assert!((0..9000).all(|query| l2.side(query) % 2 == 1 && l2.side(query) >= 3));
    }

    #[test]
    fn every_proposal_lies_in_ball_and_box() {
        for (norm, eps) in [(Norm::Linf, 0.1), (Norm::L2, 0.7)] {
            for input in [[3, 32, 32], [1, 8, 12], [3, 3, 3]] {
                let attack = Square { input, ..square(norm, eps) };
                let mut stream = NoiseKey { seed: 5, attack: "test", restart: 0 }.stream(0);
                let centre: Vec<f32> =
                    (0..input.iter().product()).map(|_| stream.uniform()).collect();
                let subject =
                    Subject { index: 0, label: 0, centre: centre.clone(), others: vec![1] };
                let mut walk = attack.begin(subject);
                let mut asked = 0;
                while walk.ask() == Ask::Logits {
                    asked += 1;
                    let delta = walk.image().iter().zip(&centre).map(|(a, b)| a - b);
                    let size = norm.of(delta);
                    assert!(size <= eps + 1e-6 && size > 0.3 * eps, "{norm} {input:?} {size}");
                    assert!(walk.image().iter().all(|x| (0.0..=1.0).contains(x)));
                    let logit = stream.uniform();
                    walk.hear(&ndarray::aview1(&[logit, 0.0]), false);
                }
                assert_eq!(asked, 301);
            }
        }
    }
}
