//! The common corruptions of Hendrycks & Dietterich, for accuracy out of distribution.
//!
//! Fifteen [standard](Corruption::standard) corruptions and four extra ones, each at five
//! severities, with the parameters of CIFAR-10-C for images of up to 32 pixels a side, of
//! Tiny-ImageNet-C up to 64 and of ImageNet-C above. What the published programs compute is computed
//! here step by step, to the cut to whole levels at the end; what they draw at random comes from a
//! stream of the sample ([`NoiseKey`]), so an image is corrupted in the same way whatever batch it is
//! in. Two things differ: [frost](Corruption::Frost) is a texture with the photographs' statistics
//! instead of the photographs, and a grey image is corrupted as a colour image of equal channels.
//!
//! # References
//! Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
//! perturbations", ICLR 2019; <https://github.com/hendrycks/robustness>.

mod batch;
mod blur;
mod colour;
mod edges;
mod elastic;
mod frost;
mod gaussian;
#[cfg(test)]
mod golden_tests;
mod jpeg;
mod motion;
mod noise;
mod parameters;
mod pixelate;
mod planes;
mod published;
mod spatter;
mod survey;
mod weather;
mod zoom;

use std::fmt;
use std::str::FromStr;

use ndarray::{Array3, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use crate::threat::NoiseKey;
use parameters::Size;
use planes::Rgb;

pub use published::{Published, PublishedError};
pub use survey::{Corruptions, Severities, Survey, SurveyError};

/// The least height and width.
const LEAST_SIDE: usize = 8;

/// One of the common corruptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    /// Normal noise on every value.
    GaussianNoise,
    /// Poisson noise of few photons.
    ShotNoise,
    /// Salt and pepper.
    ImpulseNoise,
    /// An open lens: the mean over a disk.
    DefocusBlur,
    /// A matt pane: pixels change places.
    GlassBlur,
    /// A movement at a random angle.
    MotionBlur,
    /// A lens that zooms.
    ZoomBlur,
    /// Falling flakes.
    Snow,
    /// Ice on the pane; a texture with the statistics of the original's photographs.
    Frost,
    /// A plasma fractal.
    Fog,
    /// More of HSV's value.
    Brightness,
    /// Less distance from the mean.
    Contrast,
    /// Smooth random displacements.
    ElasticTransform,
    /// Fewer pixels.
    Pixelate,
    /// JPEG's loss.
    JpegCompression,
    /// Normal noise in proportion to the value.
    SpeckleNoise,
    /// A Gaussian.
    GaussianBlur,
    /// Drops of water, at severities 4 and 5 of mud.
    Spatter,
    /// Less or more of HSV's saturation.
    Saturate,
}

/// What cannot be corrupted, or asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptionError {
    /// No corruption is called so.
    #[error(
        "unknown corruption `{0}`, expected `standard` (15), `paper` (18), `all` (19) or names such \
         as `gaussian_noise,fog`"
    )]
    Unknown(String),
    /// Not 1 to 5.
    #[error("severity `{0}` is not one of 1 to 5")]
    Severity(String),
    /// Neither grey nor colour.
    #[error("corruptions take images of 1 or 3 channels, found {0}")]
    Channels(usize),
    /// Less than the corruptions' neighbourhoods need.
    #[error("corruptions take images of at least {LEAST_SIDE}×{LEAST_SIDE} pixels, found {0}×{1}")]
    Small(usize, usize),
}

/// How strong a corruption is, from 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Severity(u8);

impl Severity {
    /// From the weakest to the strongest.
    pub const ALL: [Self; 5] = [Self(1), Self(2), Self(3), Self(4), Self(5)];
}

impl Severity {
    /// `3`, `1,3,5` or `1..5`, both ends included; rising, each once.
    ///
    /// # Errors
    /// If one is not 1 to 5, or there is none.
    ///
    /// ```
    /// use rift_models::corruption::Severity;
    /// assert_eq!(Severity::selection("1..5")?, Severity::ALL);
    /// assert_eq!(Severity::selection("5,1")?, [Severity::ALL[0], Severity::ALL[4]]);
    /// # Ok::<(), rift_models::corruption::CorruptionError>(())
    /// ```
    pub fn selection(text: &str) -> Result<Vec<Self>, CorruptionError> {
        if let Some((first, last)) = text.split_once("..") {
            let (first, last): (Self, Self) = (first.trim().parse()?, last.trim().parse()?);
            if first > last {
                return Err(CorruptionError::Severity(text.to_owned()));
            }
            return Ok((first.0..=last.0).map(Self).collect());
        }
        let mut chosen =
            text.split(',').map(|level| level.trim().parse()).collect::<Result<Vec<Self>, _>>()?;
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }
}

impl TryFrom<u8> for Severity {
    type Error = CorruptionError;

    fn try_from(level: u8) -> Result<Self, Self::Error> {
        if (1..=5).contains(&level) {
            Ok(Self(level))
        } else {
            Err(CorruptionError::Severity(level.to_string()))
        }
    }
}

impl From<Severity> for u8 {
    fn from(severity: Severity) -> Self {
        severity.0
    }
}

impl FromStr for Severity {
    type Err = CorruptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level: Result<u8, _> = text.parse();
        level
            .ok()
            .and_then(|level| level.try_into().ok())
            .ok_or_else(|| CorruptionError::Severity(text.to_owned()))
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose random draws a corruption makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The user's seed.
    pub seed: u64,
    /// The image's index in its data set.
    pub sample: usize,
}

/// Checks that images of these channels, height and width can be corrupted.
fn fits([channels, height, width]: [usize; 3]) -> Result<(), CorruptionError> {
    if height.min(width) < LEAST_SIDE {
        return Err(CorruptionError::Small(height, width));
    }
    if !matches!(channels, 1 | 3) {
        return Err(CorruptionError::Channels(channels));
    }
    Ok(())
}

impl Corruption {
    /// Every corruption, the standard ones first.
    pub const ALL: [Self; 19] = [
        Self::GaussianNoise,
        Self::ShotNoise,
        Self::ImpulseNoise,
        Self::DefocusBlur,
        Self::GlassBlur,
        Self::MotionBlur,
        Self::ZoomBlur,
        Self::Snow,
        Self::Frost,
        Self::Fog,
        Self::Brightness,
        Self::Contrast,
        Self::ElasticTransform,
        Self::Pixelate,
        Self::JpegCompression,
        Self::SpeckleNoise,
        Self::GaussianBlur,
        Self::Spatter,
        Self::Saturate,
    ];

    /// The 15 that RobustBench averages over.
    pub fn standard() -> Vec<Self> {
        Self::ALL[..15].to_vec()
    }

    /// The 18 that the RiFT paper averages over: all but glass blur.
    pub fn paper() -> Vec<Self> {
        Self::ALL.into_iter().filter(|corruption| *corruption != Self::GlassBlur).collect()
    }

    /// `standard`, `paper`, `all`, or names with commas between them; in the order of
    /// [`ALL`](Self::ALL), each once.
    ///
    /// # Errors
    /// If a name is unknown, or there is none.
    ///
    /// ```
    /// use rift_models::corruption::Corruption;
    /// assert_eq!(Corruption::selection("paper")?.len(), 18);
    /// let two = Corruption::selection("fog, shot_noise")?;
    /// assert_eq!(two, [Corruption::ShotNoise, Corruption::Fog]);
    /// # Ok::<(), rift_models::corruption::CorruptionError>(())
    /// ```
    pub fn selection(text: &str) -> Result<Vec<Self>, CorruptionError> {
        match text.trim() {
            "standard" => Ok(Self::standard()),
            "paper" => Ok(Self::paper()),
            "all" => Ok(Self::ALL.to_vec()),
            names => {
                let mut chosen = names
                    .split(',')
                    .map(|name| name.trim().parse())
                    .collect::<Result<Vec<Self>, _>>()?;
                chosen.sort_unstable();
                chosen.dedup();
                Ok(chosen)
            }
        }
    }

    /// As the published files are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::GaussianNoise => "gaussian_noise",
            Self::ShotNoise => "shot_noise",
            Self::ImpulseNoise => "impulse_noise",
            Self::DefocusBlur => "defocus_blur",
            Self::GlassBlur => "glass_blur",
            Self::MotionBlur => "motion_blur",
            Self::ZoomBlur => "zoom_blur",
            Self::Snow => "snow",
            Self::Frost => "frost",
            Self::Fog => "fog",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::ElasticTransform => "elastic_transform",
            Self::Pixelate => "pixelate",
            Self::JpegCompression => "jpeg_compression",
            Self::SpeckleNoise => "speckle_noise",
            Self::GaussianBlur => "gaussian_blur",
            Self::Spatter => "spatter",
            Self::Saturate => "saturate",
        }
    }

    /// The image, corrupted.
    ///
    /// # Shapes
    /// C×H×W with C = 1 or 3 and sides of at least 8 pixels; the same comes back.
    ///
    /// # Units
    /// Bytes: pixel · 255.
    ///
    /// # Errors
    /// If the shape is another.
    ///
    /// ```
    /// use ndarray::Array3;
    /// use rift_models::corruption::{Corruption, Draw, Severity};
    ///
    /// let grey = Array3::from_elem((3, 32, 32), 100);
    /// let draw = Draw { seed: 0, sample: 0 };
    /// let bright = Corruption::Brightness.apply(Severity::ALL[0], &grey.view(), draw)?;
    /// assert_eq!(bright[[0, 7, 7]], 112, "0.05 · 255 more, cut to a whole number");
    /// # Ok::<(), rift_models::corruption::CorruptionError>(())
    /// ```
    pub fn apply(
        self,
        severity: Severity,
        image: &ArrayView3<'_, u8>,
        draw: Draw,
    ) -> Result<Array3<u8>, CorruptionError> {
        let (channels, height, width) = image.dim();
        fits([channels, height, width])?;
        let size = Size::of(height, width);
        if channels == 3 {
            return Ok(self.in_colour(size, severity, image, draw));
        }
        let equal = Array3::from_shape_fn((3, height, width), |(_, y, x)| image[[0, y, x]]);
        let colour = self.in_colour(size, severity, &equal.view(), draw);
        Ok(self.grey(&colour))
    }

    /// A grey image of a corrupted colour image of equal channels: its first channel, and where the
    /// corruption has a colour of its own the luminance.
    fn grey(self, colour: &Array3<u8>) -> Array3<u8> {
        if !matches!(self, Self::Frost | Self::Spatter) {
            return colour.slice_axis(Axis(0), (0..1).into()).to_owned();
        }
        let luminance = colour.map_axis(Axis(0), |pixel| {
            let sum: f64 = pixel.iter().zip(weather::GREY).map(|(v, k)| k * f64::from(*v)).sum();
            sum.round() as u8
        });
        luminance.insert_axis(Axis(0))
    }

    fn in_colour(
        self,
        size: Size,
        severity: Severity,
        image: &ArrayView3<'_, u8>,
        draw: Draw,
    ) -> Array3<u8> {
        let level = severity.0;
        match self {
            Self::Pixelate => return pixelate::pixelate(image, size.pixelate(level)),
            Self::JpegCompression => {
                return jpeg::jpeg_compression(image, size.jpeg_compression(level));
            }
            _ => {}
        }
        let key = NoiseKey { seed: draw.seed, attack: self.name(), restart: u32::from(level) };
        let g = &mut key.generator(draw.sample);
        let image = Rgb::of(image);
        let corrupted = match self {
            Self::GaussianNoise => noise::gaussian_noise(image, size.gaussian_noise(level), g),
            Self::ShotNoise => noise::shot_noise(image, size.shot_noise(level), g),
            Self::ImpulseNoise => noise::impulse_noise(image, size.impulse_noise(level), g),
            Self::SpeckleNoise => noise::speckle_noise(image, size.speckle_noise(level), g),
            Self::DefocusBlur => {
                let (radius, alias) = size.defocus_blur(level);
                blur::defocus_blur(image, radius, alias)
            }
            Self::GlassBlur => blur::glass_blur(image, size.glass_blur(level), g),
            Self::GaussianBlur => blur::gaussian_blur(image, size.gaussian_blur(level)),
            Self::MotionBlur => motion::motion_blur(image, size.motion_blur(level), g),
            Self::ZoomBlur => {
                let (end, step) = size.zoom_blur(level);
                zoom::zoom_blur(image, end, step)
            }
            Self::Snow => weather::snow(image, size.snow(level), g),
            Self::Frost => frost::frost(image, size.frost(level), g),
            Self::Fog => {
                let (thickness, decay) = size.fog(level);
                weather::fog(image, thickness, decay, g)
            }
            Self::Spatter => spatter::spatter(image, size.spatter(level), g),
            Self::Brightness => colour::brightness(image, size.brightness(level)),
            Self::Contrast => colour::contrast(image, size.contrast(level)),
            Self::Saturate => {
                let (factor, by) = size.saturate(level);
                colour::saturate(image, factor, by)
            }
            Self::ElasticTransform => {
                elastic::elastic_transform(image, size.elastic_transform(level), g)
            }
            // Returned above.
            Self::Pixelate | Self::JpegCompression => image,
        };
        corrupted.bytes()
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Corruption {
    type Err = CorruptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|corruption| corruption.name() == text);
        known.ok_or_else(|| CorruptionError::Unknown(text.to_owned()))
    }
}
