//! The set in which an adversarial image lies: a norm ball around the image, cut with `[0, 1]`.

use rift_models::threat::{NoiseKey, Norm, noise};

/// What rounding may add to a distance, in pixel units: some hundredths of a percent of a grey level.
const SLACK: f32 = 1e-6;

/// The ball of radius `eps` around one image, within the box of all images.
///
/// All arithmetic is in float32 and in a fixed order, the same as the trainer's, so that both walk
/// the same path up to the network's own rounding.
///
/// # Units
/// Everything is in pixel units, where a pixel lies in `[0, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct Ball<'a> {
    /// The norm of the perturbation.
    pub norm: Norm,
    /// Its largest norm.
    pub eps: f32,
    /// The image as it is.
    pub centre: &'a [f32],
}

impl Ball<'_> {
    /// Puts `image` at the random point of the ball that belongs to `sample`, cut to the box.
    pub fn random_start(&self, key: &NoiseKey, sample: usize, image: &mut [f32]) {
        noise::random_start(key, sample, self.norm, self.eps, image);
        for (value, centre) in image.iter_mut().zip(self.centre) {
            *value = (centre + *value).clamp(0.0, 1.0);
        }
    }

    /// Goes one step of length `step` uphill from `image` and projects.
    ///
    /// L∞: `x + step · sign(g)` with `sign(0) = 0`. L2: `x + step · g / ‖g‖₂`, and no step where the
    /// gradient is 0. What is not a number counts as 0.
    pub fn step(&self, image: &mut [f32], gradient: &[f32], step: f32) {
        match self.norm {
            Norm::Linf => {
                for (value, slope) in image.iter_mut().zip(gradient) {
                    *value += step * sign(*slope);
                }
            }
            Norm::L2 => {
                let length = Norm::L2.of(gradient.iter().copied());
                if length > 0.0 && length.is_finite() {
                    for (value, slope) in image.iter_mut().zip(gradient) {
                        *value += step * (slope / length);
                    }
                }
            }
        }
        self.project(image);
    }

    /// The nearest point of the ball, then of the box: clipping for L∞, scaling for L2.
    pub fn project(&self, image: &mut [f32]) {
        match self.norm {
            Norm::Linf => {
                for (value, centre) in image.iter_mut().zip(self.centre) {
                    let (lower, upper) = (centre - self.eps, centre + self.eps);
                    *value = value.max(lower).min(upper).clamp(0.0, 1.0);
                }
            }
            Norm::L2 => {
                let length = self.distance(image);
                let scale = if length > self.eps { self.eps / length } else { 1.0 };
                for (value, centre) in image.iter_mut().zip(self.centre) {
                    // At scale 1 the sum must not round the image away from where it is.
                    let moved =
                        if scale < 1.0 { centre + (*value - centre) * scale } else { *value };
                    *value = moved.clamp(0.0, 1.0);
                }
            }
        }
    }

    /// Moves `image` to numbers k / `levels`, of which the centre must be made.
    ///
    /// That is the nearest such image, but where it would leave the ball and `image` does not: for
    /// L∞ then the nearest in the ball, for L2 the nearest to a perturbation that is made smaller
    /// until the ball holds it.
    pub fn snap(&self, image: &mut [f32], levels: f32) {
        let is_inside = self.distance(image) <= self.eps + SLACK;
        let exact: Vec<f32> = image.to_vec();
        let nearest = |value: f32| (value * levels).round().clamp(0.0, levels);
        let reach = (self.eps * levels + SLACK * levels).floor();
        for (value, centre) in image.iter_mut().zip(self.centre) {
            let mut step = nearest(*value);
            if is_inside && self.norm == Norm::Linf {
                let centre = nearest(*centre);
                step = step.clamp(centre - reach, centre + reach);
            }
            *value = step / levels;
        }
        let mut scale = 1.0;
        while is_inside && self.distance(image) > self.eps + SLACK {
            scale *= 0.99 * (self.eps / self.distance(image)).min(1.0);
            for ((value, exact), centre) in image.iter_mut().zip(&exact).zip(self.centre) {
                *value = nearest(centre + scale * (exact - centre)) / levels;
            }
        }
    }

    /// The norm of the perturbation that leads from the centre to `image`.
    pub fn distance(&self, image: &[f32]) -> f32 {
        self.norm.of(image.iter().zip(self.centre).map(|(value, centre)| value - centre))
    }
}

fn sign(value: f32) -> f32 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linf_steps_by_the_sign_and_stays_in_ball_and_box() {
        let centre = [0.0, 0.5, 0.99, 0.5];
        let ball = Ball { norm: Norm::Linf, eps: 0.1, centre: &centre };
        let mut image = centre;
        ball.step(&mut image, &[-3.0, 1e-20, 2.0, 0.0], 0.06);
        assert_eq!(image, [0.0, 0.5 + 0.06, 1.0, 0.5]);
        ball.step(&mut image, &[-3.0, 1e-20, 2.0, f32::NAN], 0.06);
        assert_eq!(image, [0.0, 0.5 + 0.1, 1.0, 0.5]);
    }

    #[test]
    fn l2_steps_along_the_gradient_and_scales_back() {
        let centre = [0.5, 0.5];
        let ball = Ball { norm: Norm::L2, eps: 0.1, centre: &centre };
        let mut image = centre;
        ball.step(&mut image, &[3.0, 4.0], 0.05);
        assert!((image[0] - 0.53).abs() < 1e-6 && (image[1] - 0.54).abs() < 1e-6, "{image:?}");
        let inside = image;
        ball.step(&mut image, &[0.0, 0.0], 0.05);
        assert_eq!(image, inside);
        for _ in 0..5 {
            ball.step(&mut image, &[3.0, 4.0], 0.05);
        }
        assert!((ball.distance(&image) - 0.1).abs() < 1e-6);
    }

    #[test]
    fn whole_numbers_are_the_nearest_in_the_ball() {
        let centre: Vec<f32> = (0..240).map(|i| (i % 256) as f32 / 255.0).collect();
        // 7.65 levels: 8 of them would be outside, though 7.6 is nearer to 8.
        for (norm, eps) in [(Norm::Linf, 8.0 / 255.0), (Norm::Linf, 0.03), (Norm::L2, 0.1)] {
            let ball = Ball { norm, eps, centre: &centre };
            let mut image = vec![0.0; centre.len()];
            ball.random_start(&NoiseKey { seed: 3, attack: "pgd", restart: 0 }, 0, &mut image);
            ball.step(&mut image, &centre, 1.0);
            let exact = image.clone();
            ball.snap(&mut image, 255.0);
            assert!(ball.distance(&image) <= eps + SLACK, "{norm} {}", ball.distance(&image));
            assert!(ball.distance(&image) > 0.8 * eps, "{norm} {}", ball.distance(&image));
            for (value, exact) in image.iter().zip(&exact) {
                let step = value * 255.0;
                assert!((step - step.round()).abs() < 1e-4, "{step}");
                assert!((value - exact).abs() <= 1.0 / 255.0);
            }
            let again = image.clone();
            ball.snap(&mut image, 255.0);
            assert_eq!(image, again);
        }
        // What was outside is only rounded.
        let ball = Ball { norm: Norm::Linf, eps: 0.0, centre: &[0.0] };
        let mut outside = [0.5];
        ball.snap(&mut outside, 255.0);
        assert_eq!(outside, [128.0 / 255.0]);
    }

    #[test]
    fn random_starts_lie_inside() {
        let centre: Vec<f32> = (0..200).map(|i| i as f32 / 199.0).collect();
        for norm in [Norm::Linf, Norm::L2] {
            let ball = Ball { norm, eps: 0.3, centre: &centre };
            for sample in 0..20 {
                let mut image = vec![0.0; centre.len()];
                let key = NoiseKey { seed: 1, attack: "pgd", restart: 0 };
                ball.random_start(&key, sample, &mut image);
                assert!(ball.distance(&image) <= 0.3 + 1e-6);
                assert!(image.iter().all(|value| (0.0..=1.0).contains(value)));
                assert_ne!(image, centre);
            }
        }
    }
}
