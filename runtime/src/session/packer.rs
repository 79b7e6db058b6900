//! Pixels as a model's input holds them, and back.

use half::{bf16, f16};
use ndarray::{Array4, ArrayView4};

use super::intake::Intake;
use super::{Classifier, Element};

/// Pixels as a model's input holds them: its layout, its units and its numbers, little-endian.
#[derive(Clone, Debug)]
pub struct Packer(Intake);

impl Packer {
    /// A packer for what `classifier` takes.
    pub fn new(classifier: &Classifier) -> Self {
        Self(classifier.intake().clone())
    }

    /// The bytes of images.
    ///
    /// # Shapes
    /// `N × C × H × W` in pixels.
    pub fn pack(&self, images: &ArrayView4<f32>) -> Vec<u8> {
        let floats = self.0.floats(images, images.dim().0);
        let floats = floats.iter();
        match Element::of(self.0.element) {
            Element::Uint8 => floats.map(|value| *value as u8).collect(),
            Element::Float16 => {
                floats.flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
            }
            Element::Bfloat16 => {
                floats.flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect()
            }
            Element::Float32 => floats.flat_map(|value| value.to_le_bytes()).collect(),
            Element::Float64 => floats.flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
        }
    }

    /// The images of such bytes; what is left of the last one is dropped.
    ///
    /// # Shapes
    /// `N × C × H × W` in pixels.
    pub fn unpack(&self, bytes: &[u8]) -> Array4<f32> {
        let floats: Vec<f32> = match Element::of(self.0.element) {
            Element::Uint8 => bytes.iter().map(|byte| f32::from(*byte)).collect(),
            Element::Float16 => {
                bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            }
            Element::Bfloat16 => {
                bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()
            }
            Element::Float32 => {
                bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
            }
            Element::Float64 => {
                bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
            }
        };
        self.0.pixels(&floats)
    }
}
