//! How a model is to be read where its file does not say.

use serde::{Deserialize, Serialize};

/// What a user adds to a model's file: which output holds the logits, how big images are, and what
/// the model expects to have been done to its pixels.
///
/// The model is given `(scale · pixel − mean) / std` for pixels in \[0, 1\]; mean and std are in the
/// units that `scale` makes, so `scale 255, mean 127.5, std 127.5` and `mean 0.5, std 0.5` are the
/// same. One number stands for all channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The output that holds the logits, where the model has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What pixels in \[0, 1\] are multiplied by; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// What is then subtracted, a number a channel; nothing if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f32>,
    /// What the rest is divided by, a number a channel; 1 if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f32>,
    /// Height and width of images, for models that leave them free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Whether images of another size are resized to the model's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resize: bool,
}

impl Reading {
    /// Whether something is done to pixels before the model is given them.
    pub fn normalises(&self) -> bool {
        self.scale.is_some() || !(self.mean.is_empty() && self.std.is_empty())
    }

    /// Whether nothing is added.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}
