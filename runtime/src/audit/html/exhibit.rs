//! Broken images as pictures.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Luma, Rgb};
use rift_models::dataset::Dataset;

use super::super::Measured;

/// A broken image in three PNG files.
#[derive(Clone, Debug)]
pub struct Exhibit {
    /// Its index.
    pub index: usize,
    /// As it is.
    pub original: Vec<u8>,
    /// The perturbation around grey, magnified so that its largest change is full scale.
    pub perturbation: Vec<u8>,
    /// As the model sees it.
    pub adversarial: Vec<u8>,
}

/// The first `many` broken images whose pixels were kept; none where images have neither one channel
/// nor three.
pub fn exhibits(data: &Dataset, measured: &Measured, many: usize) -> Vec<Exhibit> {
    let input = data.input();
    let broken = measured.fates.iter().filter(|fate| fate.stage.is_some()).map(|f| &f.outcome);
    let shown = broken.filter(|outcome| !outcome.image.is_empty()).take(many);
    let one = |outcome: &crate::attack::walk::Outcome| {
        let batch = data.batch(outcome.index..outcome.index + 1);
        let original: Vec<f32> = batch.iter().copied().collect();
        Exhibit::of(outcome.index, &original, &outcome.image, input)
    };
    shown.filter_map(one).collect()
}

impl Exhibit {
    /// An image and what became of it, C × H × W; nothing where that is no picture.
    pub fn of(
        index: usize,
        original: &[f32],
        adversarial: &[f32],
        input: [usize; 3],
    ) -> Option<Self> {
        let delta = adversarial.iter().zip(original).map(|(a, b)| a - b);
        let largest = delta.clone().fold(f32::MIN_POSITIVE, |most, d| most.max(d.abs()));
        let delta: Vec<f32> = delta.map(|d| 0.5 + 0.5 * d / largest).collect();
        Some(Self {
            index,
            original: png(original, input)?,
            perturbation: png(&delta, input)?,
            adversarial: png(adversarial, input)?,
        })
    }
}

/// An image C × H × W in `[0, 1]` as a PNG file.
fn png(pixels: &[f32], [c, h, w]: [usize; 3]) -> Option<Vec<u8>> {
    let byte = |channel: usize, x: u32, y: u32| {
        let value = pixels[(channel * h + y as usize) * w + x as usize];
        (value * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let (width, height) = (w as u32, h as u32);
    let picture = match c {
        1 => DynamicImage::ImageLuma8(image::ImageBuffer::from_fn(width, height, |x, y| {
            Luma([byte(0, x, y)])
        })),
        3 => DynamicImage::ImageRgb8(image::ImageBuffer::from_fn(width, height, |x, y| {
            Rgb([0, 1, 2].map(|channel| byte(channel, x, y)))
        })),
        _ => return None,
    };
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).ok()?;
    Some(file.into_inner())
}
