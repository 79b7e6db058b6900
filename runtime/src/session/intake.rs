//! How pixels become what a model takes, and its gradient one by the pixels.

use half::{bf16, f16};
use ndarray::{Array4, ArrayView4, ArrayViewMut4, Axis};
use ort::session::SessionInputValue;
use ort::value::{Tensor, TensorElementType};
use rift_models::artifact::Reading;

use super::SessionError;
use crate::autodiff::Layout;

/// The largest byte.
const LEVELS: f32 = 255.0;

/// What a model takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Intake {
    /// The input's name.
    pub(super) name: String,
    /// Its numbers.
    pub(super) element: TensorElementType,
    /// The order of its dimensions.
    pub(super) layout: Layout,
    /// Channels, height, width.
    pub(super) input: [usize; 3],
    /// Images, where the model insists on a number.
    pub(super) batch: Option<usize>,
    /// What is done to each channel's pixels; empty where nothing is.
    change: Vec<Change>,
}

/// `(scale · pixel − mean) / std`, in this order of operations.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    scale: f32,
    mean: f32,
    std: f32,
}

impl Intake {
    /// Adds to what the model declares what the user says of it.
    pub(super) fn new(
        (name, element, layout): (String, TensorElementType, Layout),
        (input, batch): ([usize; 3], Option<usize>),
        reading: &Reading,
    ) -> Result<Self, SessionError> {
        let change = changes(reading, input[0], element)?;
        Ok(Self { name, element, layout, input, batch, change })
    }

    /// How many steps lie between a black and a white pixel, where the model takes whole numbers.
    pub(super) fn levels(&self) -> Option<f32> {
        (self.element == TensorElementType::Uint8).then_some(LEVELS)
    }

    /// The dimensions of an image in the model's order.
    pub(super) fn dims(&self) -> [usize; 3] {
        let [c, h, w] = self.input;
        match self.layout {
            Layout::ChannelsFirst => [c, h, w],
            Layout::ChannelsLast => [h, w, c],
        }
    }

    /// Images as the model's gradient graph takes them: its layout and units, bytes as whole
    /// numbers in float, then blank ones, `batch` in all.
    pub(super) fn floats(&self, images: &ArrayView4<f32>, batch: usize) -> Array4<f32> {
        let (n, c, h, w) = images.dim();
        let mut planes = Array4::zeros((batch, c, h, w));
        let mut filled = planes.slice_axis_mut(Axis(0), (0..n).into());
        filled.assign(images);
        for (channel, change) in self.change.iter().enumerate() {
            let apply = |pixel| (change.scale * pixel - change.mean) / change.std;
            filled.index_axis_mut(Axis(1), channel).mapv_inplace(apply);
        }
        if let Some(levels) = self.levels() {
            filled.mapv_inplace(|value| value.round().clamp(0.0, levels));
        }
        match self.layout {
            Layout::ChannelsFirst => planes,
            Layout::ChannelsLast => {
                planes.permuted_axes([0, 2, 3, 1]).as_standard_layout().into_owned()
            }
        }
    }

    /// The pixels that a model's input stands for: the way back from [`floats`](Self::floats), but for
    /// what that rounds.
    pub(super) fn pixels(&self, given: &[f32]) -> Array4<f32> {
        let [c, h, w] = self.input;
        let at = |(n, channel, y, x): (usize, usize, usize, usize)| match self.layout {
            Layout::ChannelsFirst => ((n * c + channel) * h + y) * w + x,
            Layout::ChannelsLast => ((n * h + y) * w + x) * c + channel,
        };
        let n = given.len() / (c * h * w).max(1);
        let mut pixels = Array4::from_shape_fn((n, c, h, w), |index| given[at(index)]);
        for (channel, change) in self.change.iter().enumerate() {
            let undo = |value| (value * change.std + change.mean) / change.scale;
            pixels.index_axis_mut(Axis(1), channel).mapv_inplace(undo);
        }
        pixels
    }

    /// Images as the served model takes them.
    pub(super) fn tensor(
        &self,
        images: &ArrayView4<f32>,
        batch: usize,
    ) -> Result<SessionInputValue<'static>, SessionError> {
        let floats = self.floats(images, batch);
        let tensor = match self.element {
            TensorElementType::Uint8 => {
                Tensor::from_array(floats.mapv(|value| value as u8)).map(Into::into)
            }
            TensorElementType::Float16 => {
                Tensor::from_array(floats.mapv(f16::from_f32)).map(Into::into)
            }
            TensorElementType::Bfloat16 => {
                Tensor::from_array(floats.mapv(bf16::from_f32)).map(Into::into)
            }
            TensorElementType::Float64 => {
                Tensor::from_array(floats.mapv(f64::from)).map(Into::into)
            }
            _ => Tensor::from_array(floats).map(Into::into),
        };
        tensor.map_err(SessionError::Run)
    }

    /// Turns gradients by what [`floats`](Self::floats) makes, laid out as the model's input, into
    /// those by the pixels. Rounding to whole numbers is taken for the identity.
    pub(super) fn to_pixels(&self, from: &[f32], mut to: ArrayViewMut4<f32>) {
        match self.layout {
            Layout::ChannelsFirst => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
            Layout::ChannelsLast => {
                let last = to.view_mut().permuted_axes([0, 2, 3, 1]);
                last.into_iter().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        for (channel, change) in self.change.iter().enumerate() {
            let factor = change.scale / change.std;
            to.index_axis_mut(Axis(1), channel).mapv_inplace(|slope| slope * factor);
        }
    }
}

fn changes(
    reading: &Reading,
    channels: usize,
    element: TensorElementType,
) -> Result<Vec<Change>, SessionError> {
    let is_given = reading.normalises();
    if element == TensorElementType::Uint8 {
        if is_given {
            let what = "scale, mean and std say nothing to a model that takes bytes".to_owned();
            return Err(SessionError::Reading { what });
        }
        return Ok(vec![Change { scale: LEVELS, mean: 0.0, std: 1.0 }; channels]);
    }
    if !is_given {
        return Ok(Vec::new());
    }
    let scale = reading.scale.unwrap_or(1.0);
    let mean = row("mean", &reading.mean, channels, 0.0)?;
    let std = row("std", &reading.std, channels, 1.0)?;
    for (name, value) in std.iter().map(|std| ("std", *std)).chain([("scale", scale)]) {
        if value <= 0.0 {
            let what = format!("{name} `{value}`, expected a number above 0");
            return Err(SessionError::Reading { what });
        }
    }
    Ok(mean.into_iter().zip(std).map(|(mean, std)| Change { scale, mean, std }).collect())
}

/// A number for each channel.
fn row(
    name: &str,
    values: &[f32],
    channels: usize,
    otherwise: f32,
) -> Result<Vec<f32>, SessionError> {
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(SessionError::Reading { what: format!("{name} `{value}` is not finite") });
    }
    match values {
        [] => Ok(vec![otherwise; channels]),
        [one] => Ok(vec![*one; channels]),
        several if several.len() == channels => Ok(several.to_vec()),
        several => {
            let found = several.len();
            let what =
                format!("{found} numbers for {name}, expected 1 or {channels}, one a channel");
            Err(SessionError::Reading { what })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(element: TensorElementType, layout: Layout, reading: &Reading) -> Intake {
        let declared = ("x".to_owned(), element, layout);
        Intake::new(declared, ([2, 1, 3], None), reading).unwrap()
    }

    fn images() -> Array4<f32> {
        Array4::from_shape_fn((1, 2, 1, 3), |(_, c, _, x)| (3 * c + x) as f32 / 10.0)
    }

    #[test]
    fn two_ways_to_say_the_same() {
        let one = Reading { mean: vec![0.5], std: vec![0.5, 0.25], ..Reading::default() };
        let other = Reading {
            scale: Some(256.0),
            mean: vec![128.0],
            std: vec![128.0, 64.0],
            ..Reading::default()
        };
        let [one, other] =
            [one, other].map(|r| intake(TensorElementType::Float32, Layout::ChannelsFirst, &r));
        let given = one.floats(&images().view(), 2);
        assert_eq!(given, other.floats(&images().view(), 2));
        assert!(
            (given[[0, 0, 0, 1]] + 0.8).abs() < 1e-6 && (given[[0, 1, 0, 0]] + 0.8).abs() < 1e-6
        );
        // The one that fills the batch is blank to the model.
        assert!(given.index_axis(Axis(0), 1).iter().all(|value| *value == 0.0));
        let back = one.pixels(&given.as_slice().unwrap()[..6]);
        assert!(back.iter().zip(&images()).all(|(a, b)| (a - b).abs() < 1e-6));
        let mut slopes = Array4::zeros((1, 2, 1, 3));
        one.to_pixels(&[1.0; 6], slopes.view_mut());
        assert_eq!((slopes[[0, 0, 0, 0]], slopes[[0, 1, 0, 0]]), (2.0, 4.0));
    }

    #[test]
    fn bytes_with_channels_last_are_rounded_and_turned() {
        let bytes = intake(TensorElementType::Uint8, Layout::ChannelsLast, &Reading::default());
        assert_eq!((bytes.levels(), bytes.dims()), (Some(255.0), [1, 3, 2]));
        let given = bytes.floats(&images().view(), 1);
        assert_eq!(given.dim(), (1, 1, 3, 2));
        assert_eq!(given[[0, 0, 1, 0]], 26.0);
        assert_eq!(given[[0, 0, 2, 1]], 128.0);
        let back = bytes.pixels(given.as_slice().unwrap());
        assert!(back.iter().zip(&images()).all(|(a, b)| (a - b).abs() < 0.501 / 255.0));
        let mut slopes = Array4::zeros((1, 2, 1, 3));
        bytes.to_pixels(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], slopes.view_mut());
        assert_eq!(slopes[[0, 1, 0, 2]], 5.0 * 255.0);
        assert_eq!(slopes[[0, 0, 0, 1]], 2.0 * 255.0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused =
            |element, reading: &Reading| changes(reading, 3, element).unwrap_err().to_string();
        let float = TensorElementType::Float32;
        let with = |mean: &[f32], std: &[f32], scale| Reading {
            mean: mean.to_vec(),
            std: std.to_vec(),
            scale,
            ..Reading::default()
        };
        for (element, reading, part) in [
            (float, with(&[0.5, 0.5], &[], None), "2 numbers for mean, expected 1 or 3"),
            (float, with(&[], &[0.0], None), "above 0"),
            (float, with(&[], &[], Some(-1.0)), "scale `-1`"),
            (float, with(&[f32::NAN], &[], None), "not finite"),
            (TensorElementType::Uint8, with(&[0.5], &[], None), "takes bytes"),
        ] {
            let message = refused(element, &reading);
            assert!(message.contains(part), "{message}");
        }
    }
}
