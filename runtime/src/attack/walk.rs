//! How images are carried through a model, whatever the attack.
//!
//! Every image is walked by itself: its path depends on the image, the attack's settings and the
//! noise of its index, and on nothing else. A batch only carries several images through the model at
//! once; when one is done, the next takes its place, so batches stay full to the end.
//!
//! Where the model takes whole numbers, every image is one that it can be given: a walk goes where it
//! likes, but what the model is asked about, differentiated at and broken by is the nearest image of
//! whole numbers within the ball.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use ndarray::{Array4, ArrayView1, Axis};
use rift_models::threat::Norm;

use super::ball::Ball;
use super::oracle::{Oracle, OracleError, margin, prediction};
use super::samples::Samples;
use crate::autodiff::Head;

/// An image to be attacked.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its index.
    pub index: usize,
    /// Its true class.
    pub label: usize,
    /// Its pixels.
    pub centre: Vec<f32>,
    /// The other classes, the most likely first, by the logits of the image as it is.
    pub others: Vec<usize>,
}

/// What a walk asks next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The served model's logits.
    Logits,
    /// The gradient of the attack's loss.
    Gradient {
        /// The class aimed at, where the loss has one.
        target: usize,
        /// Whether the image is broken if the model already misclassifies it here.
        is_judged: bool,
    },
    /// Nothing: every restart is over.
    Nothing,
}

/// One image on its way through an attack.
pub trait Walk {
    /// What it asks.
    fn ask(&self) -> Ask;
    /// The image about which it asks; when nothing is asked, the last one.
    fn image(&self) -> &[f32];
    /// Takes the answer to [`Ask::Gradient`]; `is_broken` where the image was found misclassified.
    fn learn(&mut self, loss: f32, gradient: &[f32], is_broken: bool);
    /// Takes the answer to [`Ask::Logits`].
    fn hear(&mut self, logits: &ArrayView1<f32>, is_broken: bool);
    /// Whether it goes on for now although the image is broken.
    fn goes_on(&self) -> bool {
        false
    }
}

/// An attack with its settings.
pub trait Attack: Sync {
    /// One image on its way.
    type Walk: Walk;
    /// The loss whose gradient it follows.
    fn head(&self) -> Option<Head>;
    /// The norm and the radius within which a misclassified image counts.
    fn reach(&self) -> (Norm, f32);
    /// Whether no image that it asks about lies beyond that radius.
    fn stays_within(&self) -> bool {
        true
    }
    /// Begins with an image that is classified correctly.
    fn begin(&self, subject: Subject) -> Self::Walk;
}

/// The indices still to be attacked, shared by the workers.
#[derive(Debug)]
pub struct Queue {
    indices: Vec<usize>,
    next: AtomicUsize,
    until: Option<Instant>,
    stop: Option<Arc<AtomicBool>>,
}

impl Queue {
    /// A queue of these images.
    pub fn new(indices: Vec<usize>) -> Self {
        Self { indices, next: AtomicUsize::new(0), until: None, stop: None }
    }

    /// The queue, closed at this moment; images on their way then are left where they are.
    pub fn until(self, moment: Option<Instant>) -> Self {
        Self { until: moment, ..self }
    }

    /// The queue, closed likewise once this flag is set.
    pub fn unless(self, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { stop, ..self }
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

    fn is_late(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
            || self.until.is_some_and(|moment| Instant::now() >= moment)
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

/// A walk with what is counted beside it.
struct Carried<W> {
    walk: W,
    reach: (Norm, f32),
    levels: Option<f32>,
    centre: Vec<f32>,
    label: usize,
    outcome: Outcome,
    /// A gradient that waits for the verdict on its image.
    held: Option<(f32, Vec<f32>)>,
}

impl<W: Walk> Carried<W> {
    fn ball(&self) -> Ball<'_> {
        Ball { norm: self.reach.0, eps: self.reach.1, centre: &self.centre }
    }

    /// The image about which the walk asks, as the model can be given it.
    fn image(&self) -> Cow<'_, [f32]> {
        let Some(levels) = self.levels else { return Cow::Borrowed(self.walk.image()) };
        let mut image = self.walk.image().to_vec();
        self.ball().snap(&mut image, levels);
        Cow::Owned(image)
    }

    /// Whether `distance` is in the attack's reach; whole numbers are there but for rounding.
    fn reaches(&self, distance: f32) -> bool {
        let eps = self.reach.1;
        distance <= if self.levels.is_some() { eps * (1.0 + 1e-6) } else { eps }
    }

    /// What became of the image, once the walk is over.
    fn close(mut self) -> Outcome {
        if !self.outcome.broken {
            let image = self.image().into_owned();
            self.outcome.distance = self.ball().distance(&image);
            self.outcome.image = image;
        }
        self.outcome
    }
}

/// Carries images through a model.
#[derive(Clone, Copy, Debug)]
pub struct Carrier {
    /// The shape of an image, C × H × W.
    pub input: [usize; 3],
    /// Images that go through the model at once.
    pub batch: usize,
}

impl Carrier {
    /// Attacks images from `queue` until none is left; `finished` gets each as it is done.
    ///
    /// The images are taken to be classified correctly as they are. An image is judged by the logits
    /// of the served model alone; those of the gradient pass decide which are worth a look.
    ///
    /// # Errors
    /// If the model fails.
    pub fn run<A: Attack>(
        &self,
        attack: &A,
        oracle: &mut impl Oracle,
        (samples, queue): (&impl Samples, &Queue),
        mut finished: impl FnMut(Outcome),
    ) -> Result<(), OracleError> {
        if let Some(head) = attack.head() {
            oracle.follow(head)?;
        }
        let levels = oracle.levels();
        let (mut walking, mut waiting) = (Vec::new(), Vec::new());
        while !queue.is_late() {
            while walking.len() < self.batch && waiting.len() < self.batch {
                let Some(index) = queue.take() else { break };
                let carried = self.begin(attack, (samples, levels), index);
                sort(carried, &mut walking, &mut waiting, &mut finished);
            }
            let moved = if waiting.len() >= self.batch
                || (!waiting.is_empty() && walking.len() < self.batch)
            {
                let many = waiting.len().min(self.batch);
                self.judge(attack, oracle, waiting.drain(..many).collect())?
            } else if walking.is_empty() {
                return Ok(());
            } else {
                let many = walking.len().min(self.batch);
                self.advance(oracle, walking.drain(..many).collect())?
            };
            for carried in moved {
                sort(carried, &mut walking, &mut waiting, &mut finished);
            }
        }
        Ok(())
    }

    fn begin<A: Attack>(
        &self,
        attack: &A,
        (samples, levels): (&impl Samples, Option<f32>),
        index: usize,
    ) -> Carried<A::Walk> {
        let mut centre = vec![0.0; self.input.iter().product()];
        samples.copy(index, &mut centre);
        if let Some(levels) = levels {
            // What the model is given of the image as it is.
            for value in &mut centre {
                *value = (*value * levels).round().clamp(0.0, levels) / levels;
            }
        }
        let label = samples.label(index);
        let others = ranked(&samples.logits(index), label);
        let walk = attack.begin(Subject { index, label, centre: centre.clone(), others });
        let outcome = Outcome {
            index,
            broken: false,
            prediction: label,
            distance: 0.0,
            image: Vec::new(),
            gradients: 0,
            forwards: 0,
            blind: false,
        };
        let reach = attack.reach();
        Carried { walk, reach, levels, centre, label, outcome, held: None }
    }

    /// One gradient for each.
    fn advance<W: Walk>(
        &self,
        oracle: &mut impl Oracle,
        mut carried: Vec<Carried<W>>,
    ) -> Result<Vec<Carried<W>>, OracleError> {
        let images = self.stack(&carried);
        let labels: Vec<usize> = carried.iter().map(|c| c.label).collect();
        let aim = |c: &Carried<W>| match c.walk.ask() {
            Ask::Gradient { target, is_judged } => (target, is_judged),
            Ask::Logits | Ask::Nothing => (c.label, false),
        };
        let aims: Vec<(usize, bool)> = carried.iter().map(aim).collect();
        let targets: Vec<usize> = aims.iter().map(|(target, _)| *target).collect();
        let answer = oracle.gradient(&images.view(), &labels, &targets)?;
        let doubt = oracle.doubt();
        for (n, one) in carried.iter_mut().enumerate() {
            let slopes: Vec<f32> = answer.gradient.index_axis(Axis(0), n).iter().copied().collect();
            if one.outcome.gradients == 0 {
                let is_finite = slopes.iter().all(|slope| slope.is_finite());
                one.outcome.blind = !is_finite || slopes.iter().all(|slope| *slope == 0.0);
            }
            one.outcome.gradients += 1;
            if aims[n].1 && !is_clearly_right(&answer.logits.row(n), one.label, doubt) {
                one.held = Some((answer.losses[n], slopes));
            } else {
                one.walk.learn(answer.losses[n], &slopes, false);
            }
        }
        Ok(carried)
    }

    /// Judges each by the served model.
    fn judge<A: Attack>(
        &self,
        attack: &A,
        oracle: &mut impl Oracle,
        mut carried: Vec<Carried<A::Walk>>,
    ) -> Result<Vec<Carried<A::Walk>>, OracleError> {
        let logits = oracle.logits(&self.stack(&carried).view())?;
        for (one, logits) in carried.iter_mut().zip(logits.rows()) {
            one.outcome.forwards += 1;
            let prediction = prediction(&logits);
            let mut is_broken = prediction != one.label;
            if is_broken {
                let image = one.image().into_owned();
                let distance = one.ball().distance(&image);
                is_broken = attack.stays_within() || one.reaches(distance);
                if is_broken {
                    one.outcome.broken = true;
                    one.outcome.prediction = prediction;
                    one.outcome.distance = distance;
                    one.outcome.image = image;
                }
            }
            match one.held.take() {
                _ if is_broken && !one.walk.goes_on() => {}
                Some((loss, slopes)) => one.walk.learn(loss, &slopes, is_broken),
                None => one.walk.hear(&logits, is_broken),
            }
        }
        Ok(carried)
    }

    fn stack<W: Walk>(&self, carried: &[Carried<W>]) -> Array4<f32> {
        let [c, h, w] = self.input;
        let mut images = Array4::zeros((carried.len(), c, h, w));
        for (one, mut image) in carried.iter().zip(images.outer_iter_mut()) {
            for (to, from) in image.iter_mut().zip(one.image().iter()) {
                *to = *from;
            }
        }
        images
    }
}

/// Puts a walk where its question is answered, or hands it over if it is over.
fn sort<W: Walk>(
    carried: Carried<W>,
    walking: &mut Vec<Carried<W>>,
    waiting: &mut Vec<Carried<W>>,
    finished: &mut impl FnMut(Outcome),
) {
    if carried.held.is_some() {
        waiting.push(carried);
    } else if carried.outcome.broken && !carried.walk.goes_on() {
        finished(carried.close());
    } else {
        match carried.walk.ask() {
            Ask::Logits => waiting.push(carried),
            Ask::Gradient { .. } => walking.push(carried),
            Ask::Nothing => finished(carried.close()),
        }
    }
}

/// The classes but the label, by falling logit; of equal ones the first first.
fn ranked(logits: &ArrayView1<f32>, label: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..logits.len()).filter(|class| *class != label).collect();
    others.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    others
}

/// Whether this is no misclassification to the served model either; never of logits that are not numbers.
fn is_clearly_right(logits: &ArrayView1<f32>, label: usize, doubt: f32) -> bool {
    let size = logits.iter().fold(1.0, |size: f32, logit| size.max(logit.abs()));
    margin(logits, label) > doubt * size
}
