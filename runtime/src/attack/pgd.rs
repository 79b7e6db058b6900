//! Projected gradient descent, of which FGSM is one step.

use ndarray::ArrayView1;
use rift_models::threat::{AttackSpec, NoiseKey, Norm};
use serde::{Deserialize, Serialize};

use super::ball::Ball;
use super::walk::{Ask, Attack, Subject, Walk};
use crate::autodiff::Head;

/// The attack's name, in reports and in the noise's key.
pub const NAME: &str = "pgd";

/// The loss that PGD increases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PgdLoss {
    /// Cross-entropy, by its log-odds, which have the same direction and never saturate.
    #[default]
    Ce,
    /// The largest other logit less the true class's.
    Margin,
    /// The cross-entropy of a target, downwards: restart `r` aims at the `r`-th most likely other
    /// class, and begins again after the last.
    Targeted,
}

impl PgdLoss {
    /// The loss in the graph.
    pub fn head(self) -> Head {
        match self {
            Self::Ce => Head::LogOdds,
            Self::Margin => Head::Margin,
            Self::Targeted => Head::TargetLogOdds,
        }
    }
}

/// PGD with its settings.
///
/// With [`momentum`](Self::momentum) μ above 0 the direction is that of `m ← μ m + g / ‖g‖₁` (Dong et
/// al. 2018).
#[derive(Clone, Debug)]
pub struct Pgd {
    /// Norm, radius, step, restarts and seed.
    pub spec: AttackSpec,
    /// The loss.
    pub loss: PgdLoss,
    /// How much of the last directions is kept.
    pub momentum: f32,
}

impl Pgd {
    /// Plain PGD, as the trainer does it.
    pub fn new(spec: AttackSpec) -> Self {
        Self { spec, loss: PgdLoss::Ce, momentum: 0.0 }
    }

    /// One step to the edge of the ball from the image as it is (Goodfellow et al. 2015).
    pub fn fgsm(spec: AttackSpec) -> Self {
        let step = spec.eps.clone();
        Self::new(AttackSpec { step, steps: 1, restarts: 1, random_start: false, ..spec })
    }
}

impl Attack for Pgd {
    type Walk = PgdWalk;

    fn head(&self) -> Option<Head> {
        Some(self.loss.head())
    }

    fn reach(&self) -> (Norm, f32) {
        (self.spec.norm, self.spec.eps.value())
    }

    fn begin(&self, subject: Subject) -> PgdWalk {
        let image = subject.centre.clone();
        let mut walk = PgdWalk {
            attack: self.clone(),
            subject,
            image,
            memory: Vec::new(),
            restart: 0,
            steps: 0,
        };
        walk.start();
        walk
    }
}

/// An image on its way.
#[derive(Clone, Debug)]
pub struct PgdWalk {
    attack: Pgd,
    subject: Subject,
    image: Vec<f32>,
    memory: Vec<f32>,
    restart: usize,
    steps: usize,
}

impl PgdWalk {
    fn ball(&self) -> Ball<'_> {
        let (norm, eps) = self.attack.reach();
        Ball { norm, eps, centre: &self.subject.centre }
    }

    /// Goes to the start of the current restart.
    fn start(&mut self) {
        self.steps = 0;
        self.memory = Vec::new();
        let mut image = self.subject.centre.clone();
        let spec = &self.attack.spec;
        if spec.random_start {
            let key = NoiseKey { seed: spec.seed, attack: NAME, restart: self.restart as u32 };
            self.ball().random_start(&key, self.subject.index, &mut image);
        }
        self.image = image;
    }

    /// The gradient with what is remembered of those before.
    fn direction(&mut self, gradient: &[f32]) -> Vec<f32> {
        if self.attack.momentum == 0.0 {
            return gradient.to_vec();
        }
        let size: f64 = gradient.iter().map(|slope| f64::from(slope.abs())).sum();
        let scale = if size > 0.0 && size.is_finite() { (1.0 / size) as f32 } else { 0.0 };
        self.memory.resize(gradient.len(), 0.0);
        for (kept, slope) in self.memory.iter_mut().zip(gradient) {
            let fresh = if scale > 0.0 { slope * scale } else { 0.0 };
            *kept = self.attack.momentum * *kept + fresh;
        }
        self.memory.clone()
    }
}

impl Walk for PgdWalk {
    fn ask(&self) -> Ask {
        let spec = &self.attack.spec;
        if self.restart >= spec.restarts {
            Ask::Nothing
        } else if self.steps >= spec.steps {
            Ask::Logits
        } else {
            let others = &self.subject.others;
            let target = others[self.restart % others.len()];
            Ask::Gradient { target, is_judged: spec.early_stop }
        }
    }

    fn image(&self) -> &[f32] {
        &self.image
    }

    fn learn(&mut self, _: f32, gradient: &[f32], _: bool) {
        let direction = self.direction(gradient);
        let mut image = std::mem::take(&mut self.image);
        self.ball().step(&mut image, &direction, self.attack.spec.step.value());
        self.image = image;
        self.steps += 1;
    }

    fn hear(&mut self, _: &ArrayView1<f32>, _: bool) {
        self.restart += 1;
        if self.restart < self.attack.spec.restarts {
            self.start();
        }
    }
}
