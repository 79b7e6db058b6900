//! The attack specification that trainer and runtime share.

use serde::{Deserialize, Serialize};

use super::{Epsilon, Norm};

/// Projected gradient descent (Madry et al. 2018, equation 2) within a norm ball and the box
/// `[0, 1]`, as one value.
///
/// One image `x` of class `y` and one restart go
///
/// ```text
/// x₀     = clamp(x + noise)                                   (or x without random start)
/// xₖ₊₁   = clamp(x + project(xₖ + step · dir(∇ CE(xₖ, y)) − x))
/// ```
///
/// with `dir = sign` and clipping for L∞, `dir = g / ‖g‖₂` and scaling for L2. With
/// [`early_stop`](Self::early_stop) an image is broken as soon as any iterate is misclassified;
/// without, only the last iterate is judged. An image that is misclassified to begin with counts
/// as broken. Restarts go on over the survivors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttackSpec {
    /// The norm of the ball.
    pub norm: Norm,
    /// The ball's radius, in pixel units.
    pub eps: Epsilon,
    /// The length of one step, in pixel units.
    pub step: Epsilon,
    /// Gradient steps.
    pub steps: usize,
    /// Independent random starts, of which the worst counts.
    #[serde(default = "one")]
    pub restarts: usize,
    /// Whether to start from a random point of the ball.
    #[serde(default = "yes")]
    pub random_start: bool,
    /// Whether a broken image leaves at once.
    #[serde(default = "yes")]
    pub early_stop: bool,
    /// The seed of the noise.
    #[serde(default)]
    pub seed: u64,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

/// A specification that describes no attack.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// A ball larger than the space of images.
    #[error("eps `{eps}` is larger than the box [0, 1] allows for norm `{norm}` (at most {limit})")]
    Radius {
        /// The radius as written.
        eps: Epsilon,
        /// The norm.
        norm: Norm,
        /// The largest distance between two images.
        limit: f32,
    },
    /// A step of length zero moves nothing.
    #[error("step `{0}` moves nothing, expected a length above 0")]
    Step(Epsilon),
    /// No restart.
    #[error("restarts is 0, expected at least 1")]
    Restarts,
}

impl AttackSpec {
    /// The paper's PGD-10: L∞, ε = 8/255, step 2/255, random start.
    ///
    /// # References
    /// Robust Critical Fine-Tuning, arXiv 2308.02533, section 4.1.
    pub fn paper() -> Self {
        Self { steps: 10, ..Self::linf_8(2) }
    }

    /// PGD-20 at L∞ 8/255 with step 2/255, the field's usual yardstick.
    pub fn pgd20() -> Self {
        Self { steps: 20, ..Self::linf_8(2) }
    }

    fn linf_8(step: u32) -> Self {
        let ratio = |n: u32| Epsilon::ratio(n, 255).unwrap_or_else(|_| unreachable!());
        Self {
            norm: Norm::Linf,
            eps: ratio(8),
            step: ratio(step),
            steps: 0,
            restarts: 1,
            random_start: true,
            early_stop: true,
            seed: 0,
        }
    }

    /// Checks the specification against images of `values` numbers each.
    ///
    /// # Errors
    /// If the ball exceeds the box, the step is zero while steps are asked, or no restart is.
    pub fn validate(&self, values: usize) -> Result<(), AttackError> {
        let limit = match self.norm {
            Norm::Linf => 1.0,
            Norm::L2 => (values as f32).sqrt(),
        };
        if self.eps.value() > limit {
            return Err(AttackError::Radius { eps: self.eps.clone(), norm: self.norm, limit });
        }
        if self.steps > 0 && self.step.value() == 0.0 {
            return Err(AttackError::Step(self.step.clone()));
        }
        if self.restarts == 0 {
            return Err(AttackError::Restarts);
        }
        Ok(())
    }

    /// A short name: `pgd-20 linf 8/255`.
    pub fn label(&self) -> String {
        format!("pgd-{} {} {}", self.steps, self.norm, self.eps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_impossible_specifications() {
        let paper = AttackSpec::paper();
        assert!(paper.validate(3072).is_ok());
        let eps = AttackSpec { eps: "1.5".parse().unwrap(), ..paper.clone() };
        assert!(matches!(eps.validate(3072), Err(AttackError::Radius { .. })));
        let l2 = AttackSpec { norm: Norm::L2, ..eps };
        assert!(l2.validate(3072).is_ok());
        let step = AttackSpec { step: "0".parse().unwrap(), ..paper.clone() };
        assert!(matches!(step.validate(3072), Err(AttackError::Step(_))));
        let restarts = AttackSpec { restarts: 0, ..paper };
        assert!(matches!(restarts.validate(3072), Err(AttackError::Restarts)));
    }
}
