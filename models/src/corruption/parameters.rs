//! How strong each corruption is at each severity, for the three sizes of image.
//!
//! # References
//! `make_cifar_c.py`, `make_tinyimagenet_c.py` and `make_imagenet_c.py` of
//! <https://github.com/hendrycks/robustness>, the programs that CIFAR-10-C, Tiny-ImageNet-C and
//! ImageNet-C were published with.

use super::blur::Glass;
use super::elastic::Elastic;
use super::frost::Frost;
use super::motion::Motion;
use super::spatter::Spatter;
use super::weather::Snow;

/// Whose parameters an image gets, by its longer side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// CIFAR-10-C's, up to 32 pixels.
    Cifar,
    /// Tiny-ImageNet-C's, up to 64.
    Tiny,
    /// ImageNet-C's, above.
    ImageNet,
}

impl Size {
    /// The parameters for an image.
    pub(super) fn of(height: usize, width: usize) -> Self {
        match height.max(width) {
            ..=32 => Self::Cifar,
            33..=64 => Self::Tiny,
            _ => Self::ImageNet,
        }
    }

    /// The entry for this size at a severity of 1 to 5.
    fn at<T: Copy>(self, severity: u8, [cifar, tiny, imagenet]: [[T; 5]; 3]) -> T {
        let row = match self {
            Self::Cifar => cifar,
            Self::Tiny => tiny,
            Self::ImageNet => imagenet,
        };
        row[usize::from(severity.clamp(1, 5)) - 1]
    }

    /// Standard deviation.
    pub(super) fn gaussian_noise(self, severity: u8) -> f64 {
        self.at(
            severity,
            [
                [0.04, 0.06, 0.08, 0.09, 0.10],
                [0.04, 0.08, 0.12, 0.15, 0.18],
                [0.08, 0.12, 0.18, 0.26, 0.38],
            ],
        )
    }

    /// Photons in a pixel of value 1.
    pub(super) fn shot_noise(self, severity: u8) -> f64 {
        self.at(
            severity,
            [
                [500.0, 250.0, 100.0, 75.0, 50.0],
                [250.0, 100.0, 50.0, 30.0, 15.0],
                [60.0, 25.0, 12.0, 5.0, 3.0],
            ],
        )
    }

    /// Share of the values.
    pub(super) fn impulse_noise(self, severity: u8) -> f64 {
        self.at(
            severity,
            [
                [0.01, 0.02, 0.03, 0.05, 0.07],
                [0.01, 0.02, 0.05, 0.08, 0.14],
                [0.03, 0.06, 0.09, 0.17, 0.27],
            ],
        )
    }

    /// Standard deviation, relative to the value.
    pub(super) fn speckle_noise(self, severity: u8) -> f64 {
        self.at(
            severity,
            [
                [0.06, 0.1, 0.12, 0.16, 0.2],
                [0.15, 0.2, 0.25, 0.3, 0.35],
                [0.15, 0.2, 0.35, 0.45, 0.6],
            ],
        )
    }

    /// Standard deviation in pixels.
    pub(super) fn gaussian_blur(self, severity: u8) -> f64 {
        self.at(
            severity,
            [[0.4, 0.6, 0.7, 0.8, 1.0], [0.5, 0.75, 1.0, 1.25, 1.5], [1.0, 2.0, 3.0, 4.0, 6.0]],
        )
    }

    /// Of the pane.
    pub(super) fn glass_blur(self, severity: u8) -> Glass {
        let (sigma, delta, rounds) = self.at(
            severity,
            [
                [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
                [(0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)],
                [(0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
            ],
        );
        Glass { sigma, delta, rounds }
    }

    /// Radius of the disk and softness of its edge, in pixels.
    pub(super) fn defocus_blur(self, severity: u8) -> (f64, f64) {
        self.at(
            severity,
            [
                [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)],
                [(0.5, 0.6), (1.0, 0.1), (1.5, 0.1), (2.5, 0.01), (3.0, 0.1)],
                [(3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)],
            ],
        )
    }

    /// Of the movement.
    pub(super) fn motion_blur(self, severity: u8) -> Motion {
        let (radius, sigma) = self.at(
            severity,
            [
                [(6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)],
                [(10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)],
                [(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)],
            ],
        );
        Motion { radius, sigma }
    }

    /// Where the magnifications end, and the step between them.
    pub(super) fn zoom_blur(self, severity: u8) -> (f64, f64) {
        let small = [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)];
        let large = [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)];
        self.at(severity, [small, small, large])
    }

    /// Of the flakes.
    pub(super) fn snow(self, severity: u8) -> Snow {
        // Mean, deviation, zoom, threshold, radius and sigma of the fall.
        let small = [
            (0.1, 0.2, 1.0, 0.6, 8, 3.0),
            (0.1, 0.2, 1.0, 0.5, 10, 4.0),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0),
            (0.25, 0.3, 2.25, 0.6, 12, 6.0),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0),
        ];
        let large = [
            (0.1, 0.3, 3.0, 0.5, 10, 4.0),
            (0.2, 0.3, 2.0, 0.5, 12, 4.0),
            (0.55, 0.3, 4.0, 0.9, 12, 8.0),
            (0.55, 0.3, 4.5, 0.85, 12, 8.0),
            (0.55, 0.3, 2.5, 0.85, 12, 12.0),
        ];
        let (mean, deviation, zoom, threshold, radius, sigma) =
            self.at(severity, [small, small, large]);
        let image = self.at(
            severity,
            [[0.95, 0.9, 0.9, 0.85, 0.8], [0.8, 0.8, 0.7, 0.65, 0.6], [0.8, 0.7, 0.7, 0.65, 0.55]],
        );
        Snow { mean, deviation, zoom, threshold, motion: Motion { radius, sigma }, image }
    }

    /// Of the pane; the photographs are reduced to a fifth, to three tenths or not at all.
    pub(super) fn frost(self, severity: u8) -> Frost {
        let (image, texture) = self.at(
            severity,
            [
                [(1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
                [(1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)],
                [(1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
            ],
        );
        let step = self.at(severity, [[5.0; 5], [1.0 / 0.3; 5], [1.0; 5]]);
        Frost { image, texture, step }
    }

    /// Thickness, and how fast the plasma's wibble decays.
    pub(super) fn fog(self, severity: u8) -> (f64, f64) {
        self.at(
            severity,
            [
                [(0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)],
                [(0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)],
                [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)],
            ],
        )
    }

    /// Added to HSV's value.
    pub(super) fn brightness(self, severity: u8) -> f64 {
        let large = [0.1, 0.2, 0.3, 0.4, 0.5];
        self.at(severity, [[0.05, 0.1, 0.15, 0.2, 0.3], large, large])
    }

    /// Factor.
    pub(super) fn contrast(self, severity: u8) -> f64 {
        let large = [0.4, 0.3, 0.2, 0.1, 0.05];
        self.at(severity, [[0.75, 0.5, 0.4, 0.3, 0.15], large, large])
    }

    /// Of the displacement.
    pub(super) fn elastic_transform(self, severity: u8) -> Elastic {
        let (alpha, sigma, affine) = self.at(
            severity,
            [
                [
                    (0.0, 0.0, 2.56),
                    (1.6, 6.4, 2.24),
                    (2.56, 1.92, 1.92),
                    (3.2, 1.28, 1.6),
                    (3.2, 0.96, 0.96),
                ],
                [
                    (0.0, 0.0, 5.12),
                    (3.2, 19.2, 3.84),
                    (6.4, 5.12, 3.84),
                    (6.4, 1.92, 1.92),
                    (10.24, 1.92, 1.28),
                ],
                [
                    (488.0, 170.8, 24.4),
                    (488.0, 19.52, 48.8),
                    (12.2, 2.44, 4.88),
                    (17.08, 2.44, 4.88),
                    (29.28, 2.44, 4.88),
                ],
            ],
        );
        Elastic { alpha, sigma, affine }
    }

    /// Share of the sides that is left.
    pub(super) fn pixelate(self, severity: u8) -> f64 {
        self.at(
            severity,
            [[0.95, 0.9, 0.85, 0.75, 0.65], [0.9, 0.8, 0.7, 0.6, 0.5], [0.6, 0.5, 0.4, 0.3, 0.25]],
        )
    }

    /// Quality.
    pub(super) fn jpeg_compression(self, severity: u8) -> i32 {
        self.at(severity, [[80, 65, 58, 50, 40], [65, 58, 50, 40, 25], [25, 18, 15, 10, 7]])
    }

    /// Of the drops.
    pub(super) fn spatter(self, severity: u8) -> Spatter {
        let (mean, deviation, sigma) = self.at(
            severity,
            [
                [
                    (0.62, 0.1, 0.7),
                    (0.65, 0.1, 0.8),
                    (0.65, 0.3, 1.0),
                    (0.65, 0.1, 0.7),
                    (0.65, 0.1, 0.5),
                ],
                [
                    (0.62, 0.1, 0.7),
                    (0.65, 0.1, 0.8),
                    (0.65, 0.3, 1.0),
                    (0.65, 0.1, 0.7),
                    (0.65, 0.1, 0.5),
                ],
                [
                    (0.65, 0.3, 4.0),
                    (0.65, 0.3, 3.0),
                    (0.65, 0.3, 2.0),
                    (0.65, 0.3, 1.0),
                    (0.67, 0.4, 1.0),
                ],
            ],
        );
        let (threshold, strength) = self.at(
            severity,
            [
                [(0.7, 0.5), (0.7, 0.5), (0.69, 0.5), (0.69, 0.6), (0.68, 0.6)],
                [(0.7, 0.6), (0.7, 0.6), (0.69, 0.6), (0.68, 0.6), (0.67, 0.6)],
                [(0.69, 0.6), (0.68, 0.6), (0.68, 0.5), (0.65, 1.5), (0.65, 1.5)],
            ],
        );
        Spatter { mean, deviation, sigma, threshold, strength, mud: severity >= 4 }
    }

    /// Factor of HSV's saturation, and what is added to it.
    pub(super) fn saturate(self, severity: u8) -> (f64, f64) {
        self.at(
            severity,
            [
                [(0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)],
                [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2)],
                [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)],
            ],
        )
    }
}
