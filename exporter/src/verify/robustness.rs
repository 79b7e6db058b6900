//! Accuracy as images are and under attack, of a model that may borrow another's gradients.
//!
//! Rounding to integers has no useful gradient. A quantised model is attacked along the gradients of
//! its float twin, and every image is judged by the quantised model itself.

use ndarray::{Array2, ArrayView4};
use rift_models::artifact::Accuracy;
use rift_models::dataset::Dataset;
use rift_models::threat::AttackSpec;
use rift_runtime::attack::gradient::{Attacker, Graphs};
use rift_runtime::attack::oracle::{Gradient, Oracle, OracleError};
use rift_runtime::attack::pgd::Pgd;
use rift_runtime::attack::samples::Classified;
use rift_runtime::attack::walk::{Carrier, Outcome, Queue};
use rift_runtime::autodiff::Head;
use rift_runtime::session::{Classifier, SessionError, SessionOptions, Worker, spread};

/// The loss that the attack follows, whose gradient graph is needed.
pub const HEAD: Head = Head::LogOdds;

/// What is asked of models: which images, which attack.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// The images.
    pub data: &'a Dataset,
    /// The attack.
    pub spec: &'a AttackSpec,
    /// How the work is spread.
    pub options: &'a SessionOptions,
}

/// A model that cannot be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The model does not run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The model fails under attack.
    #[error("the model fails under attack")]
    Oracle(#[source] OracleError),
}

/// What became of each image.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// Whether it is classified correctly as it is.
    pub clean: Vec<bool>,
    /// Whether it is also after the attack.
    pub robust: Vec<bool>,
    /// What the attack made of those that are classified correctly as they are.
    pub outcomes: Vec<Outcome>,
}

impl Verdicts {
    /// Both accuracies: clean and robust.
    pub fn accuracies(&self) -> [Accuracy; 2] {
        [Accuracy::of(&self.clean), Accuracy::of(&self.robust)]
    }
}

/// A classifier with the gradient graphs of the one that steers.
#[derive(Clone, Copy, Debug)]
pub struct Steered<'c> {
    /// The classifier that judges.
    pub served: &'c Classifier,
    /// The classifier whose gradients are followed.
    pub twin: &'c Classifier,
    /// The twin's gradient graphs.
    pub graphs: &'c Graphs,
}

impl Trial<'_> {
    /// The logits of the images as they are.
    ///
    /// # Errors
    /// If the model fails.
    pub fn logits(&self, served: &Classifier) -> Result<Array2<f32>, SessionError> {
        let mut pool = rift_runtime::session::Pool::new(served, self.options, self.data.len())?;
        pool.logits(&self.data.batch(0..self.data.len()).view())
    }

    /// Attacks every image that is classified correctly.
    ///
    /// # Errors
    /// If a model fails.
    pub fn run(&self, steered: Steered<'_>) -> Result<Verdicts, TrialError> {
        let logits = self.logits(steered.served)?;
        let seen = Classified { data: self.data, first: 0, logits: &logits };
        let right = seen.right();
        let mut clean = vec![false; self.data.len()];
        for row in &right {
            clean[*row] = true;
        }
        let outcomes = self.attack(steered, &seen, right)?;
        let mut robust = clean.clone();
        for outcome in &outcomes {
            robust[outcome.index] = !outcome.broken;
        }
        Ok(Verdicts { clean, robust, outcomes })
    }

    fn attack(
        &self,
        steered: Steered<'_>,
        seen: &Classified<'_>,
        indices: Vec<usize>,
    ) -> Result<Vec<Outcome>, TrialError> {
        let batch = self.options.batch;
        let queue = Queue::new(indices);
        let useful = queue.len().div_ceil(batch.max(1)).max(1);
        let mut pairs = (0..self.options.threads.clamp(1, useful))
            .map(|_| Pair::new(steered, batch))
            .collect::<Result<Vec<_>, _>>()?;
        let carrier = Carrier { input: self.data.input(), batch };
        let pgd = Pgd::new(self.spec.clone());
        let workers = pairs.len();
        let parts = spread(&mut pairs, workers, 1, |pair, _| {
            let mut outcomes = Vec::new();
            let result = carrier.run(&pgd, pair, (seen, &queue), |outcome| outcomes.push(outcome));
            if result.is_err() {
                queue.close();
            }
            result.map(|()| outcomes)
        })
        .map_err(TrialError::Oracle)?;
        let mut outcomes = parts.concat();
        outcomes.sort_by_key(|outcome| outcome.index);
        Ok(outcomes)
    }
}

/// One thread's sessions of both.
struct Pair<'c> {
    steering: Attacker<'c>,
    /// A session of the model that judges, where it is not the one that steers.
    served: Option<Worker>,
}

impl<'c> Pair<'c> {
    fn new(steered: Steered<'c>, batch: usize) -> Result<Self, SessionError> {
        let Steered { served, twin, graphs } = steered;
        let steering = Attacker::new(twin, graphs, batch)?;
        let is_another = !std::ptr::eq(served, twin);
        let served = is_another.then(|| Worker::new(served, batch)).transpose()?;
        Ok(Self { steering, served })
    }
}

impl Oracle for Pair<'_> {
    fn logits(&mut self, images: &ArrayView4<f32>) -> Result<Array2<f32>, OracleError> {
        match &mut self.served {
            Some(served) => Ok(served.logits(images)?),
            None => self.steering.logits(images),
        }
    }

    fn follow(&mut self, head: Head) -> Result<(), OracleError> {
        self.steering.follow(head)
    }

    fn doubt(&self) -> f32 {
        match &self.served {
            // The gradients come with the served model's own logits.
            Some(_) => 0.0,
            None => self.steering.doubt(),
        }
    }

    fn gradient(
        &mut self,
        images: &ArrayView4<f32>,
        labels: &[usize],
        targets: &[usize],
    ) -> Result<Gradient, OracleError> {
        let answer = self.steering.gradient(images, labels, targets)?;
        match &mut self.served {
            // The twin's logits are too far from the model's own to tell which images to look at.
            Some(served) => Ok(Gradient { logits: served.logits(images)?, ..answer }),
            None => Ok(answer),
        }
    }
}
