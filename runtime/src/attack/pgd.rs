//! Projected gradient descent, image by image.
//!
//! Every image is walked by itself: its path depends on the image, the specification and the noise
//! of its index, and on nothing else. A batch only carries several images through the model at
//! once; when one is done, the next takes its place, so batches stay full to the end.

use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array4, ArrayView1, ArrayView4};
use rift_models::threat::{AttackSpec, NoiseKey};

use super::ball::Ball;
use super::oracle::{Oracle, OracleError, margin, prediction};

/// The attack's name, in reports and in the noise's key.
pub const NAME: &str = "pgd";

/// Below this margin, relative to the logits' size, those of a gradient pass call for a look at the
/// served model's own.
///
/// The two passes are the same function; in float32 they differ by some 1e-6 of the logits' size.
const DOUBT: f32 = 1e-4;

/// The images under attack.
pub trait Samples: Sync {
    /// Writes the pixels of image `index`, C × H × W, to `out`.
    fn copy(&self, index: usize, out: &mut [f32]);
    /// The true class of image `index`.
    fn label(&self, index: usize) -> usize;
}

/// The indices still to be attacked, shared by the workers.
#[derive(Debug)]
pub struct Queue {
    indices: Vec<usize>,
    next: AtomicUsize,
}

impl Queue {
    /// A queue of these images.
    pub fn new(indices: Vec<usize>) -> Self {
        Self { indices, next: AtomicUsize::new(0) }
    }

    /// Images in all.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there was never one.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The next image, if any is left.
    fn take(&self) -> Option<usize> {
        self.indices.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }

    /// Lets nobody take another image.
    pub fn close(&self) {
        self.next.store(self.indices.len(), Ordering::Relaxed);
    }
}

/// What became of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The image.
    pub index: usize,
    /// Whether the model misclassifies [`image`](Self::image).
    pub broken: bool,
    /// The class that the model gives [`image`](Self::image).
    pub prediction: usize,
    /// How far [`image`](Self::image) is from the image as it is, in the attack's norm.
    pub distance: f32,
    /// The adversarial image, or the last iterate of the last restart where none was found.
    pub image: Vec<f32>,
    /// Gradients taken.
    pub gradients: usize,
    /// Forward passes beside those of the gradients.
    pub forwards: usize,
    /// Whether the first gradient was 0 everywhere or not finite: it told the attack nothing.
    pub blind: bool,
}

/// An attack with its settings.
#[derive(Clone, Copy, Debug)]
pub struct Pgd<'a> {
    /// The settings.
    pub spec: &'a AttackSpec,
    /// The shape of an image, C × H × W.
    pub input: [usize; 3],
    /// Images that go through the model at once.
    pub batch: usize,
}

/// An image on its way.
struct Walk {
    centre: Vec<f32>,
    /// The iterate to be judged next when `after` is given, else the iterate to go on from.
    image: Vec<f32>,
    /// Where the walk goes on if `image` turns out not to be adversarial.
    after: Option<Vec<f32>>,
    label: usize,
    restart: usize,
    steps: usize,
    outcome: Outcome,
}

impl Pgd<'_> {
    /// Attacks images from `queue` until none is left; `finished` gets each as it is done.
    ///
    /// The images are taken to be classified correctly as they are. An iterate is judged by the
    /// logits of the served model; with early stop, those of the gradient pass decide which
    /// iterates are worth a look.
    ///
    /// # Errors
    /// If the model fails.
    pub fn run(
        &self,
        oracle: &mut impl Oracle,
        samples: &impl Samples,
        queue: &Queue,
        mut finished: impl FnMut(Outcome),
    ) -> Result<(), OracleError> {
        let mut walking: Vec<Walk> = Vec::new();
        let mut waiting: Vec<Walk> = Vec::new();
        loop {
            while walking.len() < self.batch {
                let Some(index) = queue.take() else { break };
                let walk = self.begin(samples, index);
                (if self.is_done(&walk) { &mut waiting } else { &mut walking }).push(walk);
                if waiting.len() >= self.batch {
                    break;
                }
            }
            if waiting.len() >= self.batch || (!waiting.is_empty() && walking.len() < self.batch) {
                let many = waiting.len().min(self.batch);
                for (walk, is_over) in self.judge(oracle, waiting.drain(..many).collect())? {
                    if is_over {
                        finished(walk.outcome);
                    } else if self.is_done(&walk) {
                        waiting.push(walk);
                    } else {
                        walking.push(walk);
                    }
                }
            } else if walking.is_empty() {
                return Ok(());
            } else {
                // A judgement may have sent back more than fit in one batch.
                let many = walking.len().min(self.batch);
                let moved = self.advance(oracle, walking.drain(..many).collect())?;
                for (walk, is_due) in moved {
                    (if is_due { &mut waiting } else { &mut walking }).push(walk);
                }
            }
        }
    }

    /// Whether the iterate is the last of its restart.
    fn is_done(&self, walk: &Walk) -> bool {
        walk.steps >= self.spec.steps
    }

    fn begin(&self, samples: &impl Samples, index: usize) -> Walk {
        let mut centre = vec![0.0; self.input.iter().product()];
        samples.copy(index, &mut centre);
        let outcome = Outcome {
            index,
            broken: false,
            prediction: samples.label(index),
            distance: 0.0,
            image: Vec::new(),
            gradients: 0,
            forwards: 0,
            blind: false,
        };
        let label = outcome.prediction;
        let image = centre.clone();
        let mut walk = Walk { centre, image, after: None, label, restart: 0, steps: 0, outcome };
        self.start(&mut walk);
        walk
    }

    /// Puts the walk at the start of its current restart.
    fn start(&self, walk: &mut Walk) {
        walk.steps = 0;
        walk.after = None;
        if self.spec.random_start {
            let key = NoiseKey { seed: self.spec.seed, attack: NAME, restart: walk.restart as u32 };
            self.ball(&walk.centre).random_start(&key, walk.outcome.index, &mut walk.image);
        } else {
            walk.image.copy_from_slice(&walk.centre);
        }
    }

    fn ball<'c>(&self, centre: &'c [f32]) -> Ball<'c> {
        Ball { norm: self.spec.norm, eps: self.spec.eps.value(), centre }
    }

    /// One gradient step for each; says of each whether it is due to be judged.
    fn advance(
        &self,
        oracle: &mut impl Oracle,
        mut walks: Vec<Walk>,
    ) -> Result<Vec<(Walk, bool)>, OracleError> {
        let images = self.stack(&walks);
        let labels: Vec<usize> = walks.iter().map(|walk| walk.label).collect();
        let answer = oracle.loss_gradient(&images.view(), &labels)?;
        let step = self.spec.step.value();
        let mut moved = Vec::with_capacity(walks.len());
        for ((mut walk, logits), gradient) in
            walks.drain(..).zip(answer.logits.rows()).zip(answer.gradient.outer_iter())
        {
            let gradient: Vec<f32> = gradient.iter().copied().collect();
            walk.outcome.gradients += 1;
            if walk.restart == 0 && walk.steps == 0 {
                let is_finite = gradient.iter().all(|slope| slope.is_finite());
                walk.outcome.blind = !is_finite || gradient.iter().all(|slope| *slope == 0.0);
            }
            let mut next = walk.image.clone();
            self.ball(&walk.centre).step(&mut next, &gradient, step);
            walk.steps += 1;
            let is_doubtful = self.spec.early_stop && !is_clearly_right(&logits, walk.label);
            if is_doubtful {
                walk.after = Some(next);
            } else {
                walk.image = next;
            }
            let is_due = is_doubtful || self.is_done(&walk);
            moved.push((walk, is_due));
        }
        Ok(moved)
    }

    /// Judges each by the served model; says of each whether it is over.
    fn judge(
        &self,
        oracle: &mut impl Oracle,
        walks: Vec<Walk>,
    ) -> Result<Vec<(Walk, bool)>, OracleError> {
        let logits = oracle.logits(&self.stack(&walks).view())?;
        let judge_one = |(mut walk, logits): (Walk, ArrayView1<f32>)| {
            walk.outcome.forwards += 1;
            let prediction = prediction(&logits);
            if prediction != walk.label {
                walk.outcome.broken = true;
                return (self.close(walk, prediction), true);
            }
            if let Some(after) = walk.after.take() {
                walk.image = after;
                return (walk, false);
            }
            if walk.restart + 1 < self.spec.restarts {
                walk.restart += 1;
                self.start(&mut walk);
                return (walk, false);
            }
            (self.close(walk, prediction), true)
        };
        Ok(walks.into_iter().zip(logits.rows()).map(judge_one).collect())
    }

    fn close(&self, mut walk: Walk, prediction: usize) -> Walk {
        walk.outcome.prediction = prediction;
        walk.outcome.distance = self.ball(&walk.centre).distance(&walk.image);
        walk.outcome.image = std::mem::take(&mut walk.image);
        walk
    }

    fn stack(&self, walks: &[Walk]) -> Array4<f32> {
        let [c, h, w] = self.input;
        let mut images = Array4::zeros((walks.len(), c, h, w));
        for (walk, mut image) in walks.iter().zip(images.outer_iter_mut()) {
            for (to, from) in image.iter_mut().zip(&walk.image) {
                *to = *from;
            }
        }
        images
    }
}

/// Whether rounding cannot make this a misclassification; never of logits that are not numbers.
fn is_clearly_right(logits: &ArrayView1<f32>, label: usize) -> bool {
    let size = logits.iter().fold(1.0, |size: f32, logit| size.max(logit.abs()));
    margin(logits, label) > DOUBT * size
}

/// Images held in memory, with their labels.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// The images, N × C × H × W.
    pub images: ArrayView4<'a, f32>,
    /// The true classes.
    pub labels: &'a [usize],
}

impl Samples for Labelled<'_> {
    fn copy(&self, index: usize, out: &mut [f32]) {
        let image = self.images.index_axis(ndarray::Axis(0), index);
        for (to, from) in out.iter_mut().zip(image) {
            *to = *from;
        }
    }

    fn label(&self, index: usize) -> usize {
        self.labels[index]
    }
}
