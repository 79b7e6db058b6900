//! What the settings come to for each part of a training.

use rift_models::threat::AttackSpec;

use super::Settings;
use crate::attack::{Aim, CraftMode, Crafting, InnerLoss, Start};
use crate::objective::{Method, Objective};
use crate::optim::{Schedule, SgdSettings};
use crate::stage::{AverageSettings, AwpSettings, OnOverfitting, ProbeSettings, StepSettings};

impl Settings {
    /// The attack of the training, and with it the threat that the network is trained against.
    pub fn attack(&self) -> AttackSpec {
        AttackSpec {
            norm: self.norm,
            eps: self.eps.clone(),
            step: self.step.clone(),
            steps: self.steps,
            restarts: 1,
            random_start: true,
            early_stop: true,
            seed: self.seed,
        }
    }

    /// The attack that judges an epoch; its step is a quarter of the radius, whatever the
    /// training's is.
    pub fn validation_attack(&self) -> AttackSpec {
        AttackSpec { step: self.eps.quarter(), steps: self.validation_steps, ..self.attack() }
    }

    /// How the training finds its images.
    pub fn crafting(&self) -> Option<Crafting> {
        // MART has two terms too, but attacks the label.
        let two_terms =
            matches!(self.method, Method::Trades | Method::Score) && self.beta.is_some();
        self.method.is_adversarial().then(|| Crafting {
            spec: self.attack(),
            inner: self.inner_loss.unwrap_or(InnerLoss::Ce),
            aim: if two_terms { Aim::Clean } else { Aim::Labels },
            start: self.start.unwrap_or(Start::Uniform),
            mode: self.craft_mode.unwrap_or(CraftMode::Eval),
        })
    }

    /// What a step of the training does.
    pub fn step_settings(&self) -> StepSettings {
        let probe = || {
            let attack = self.validation_attack();
            ProbeSettings {
                every: self.probe_every.unwrap_or(1).max(1),
                attack: AttackSpec { steps: self.probe_steps.unwrap_or(1), ..attack },
                then: self.on_overfitting.unwrap_or(OnOverfitting::Pgd),
            }
        };
        StepSettings {
            objective: Objective {
                method: self.method,
                beta: self.beta.unwrap_or(0.0),
                loss_clip: self.loss_clip.unwrap_or(0.0),
                label_smoothing: self.label_smoothing.unwrap_or(0.0),
            },
            crafting: self.crafting(),
            awp: self.awp.then(|| AwpSettings {
                gamma: self.awp_gamma.unwrap_or(0.0),
                warmup: self.awp_warmup.unwrap_or(0),
            }),
            clip: self.clip_gradient,
            probe: (self.method == Method::FastAt).then(probe),
            average: self.ema.map(|decay| {
                let warmup = self.ema_warmup.unwrap_or(0.0) * self.epochs as f64;
                AverageSettings { decay, warmup }
            }),
        }
    }

    /// The learning rate.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            kind: self.schedule,
            rate: self.learning_rate,
            epochs: self.epochs,
            milestones: self.milestones.clone(),
            decay: self.decay,
            warmup: self.warmup,
        }
    }

    /// The optimiser's part.
    pub fn sgd(&self) -> SgdSettings {
        SgdSettings {
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
            decay_batch_norm: self.decay_batch_norm,
        }
    }
}
