//! Decoding PNG, JPEG and the other picture formats into planes of bytes.

use std::io::Cursor;

use image::error::{LimitError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use ndarray::Array4;
use rayon::prelude::*;

use super::error::{DatasetError, Place};
use super::pixels::Pixels;

/// The largest picture that is decoded, in pixels: a small file can declare a huge one.
const MOST_PIXELS: u64 = 64 << 20;

/// Channels, height and width of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// 1 for grey, 3 for colour.
    pub(super) channels: usize,
    /// Rows.
    pub(super) height: usize,
    /// Columns.
    pub(super) width: usize,
}

impl Shape {
    /// Values in a picture.
    pub(super) fn len(self) -> usize {
        self.channels * self.height * self.width
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

fn decoder(bytes: &[u8]) -> Result<impl ImageDecoder + '_, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    // Up to eight bytes a pixel.
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_PIXELS * 8);
    reader.limits(limits);
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)));
    }
    Ok(decoder)
}

/// The shape that a picture's header declares; grey pictures have one channel.
pub(super) fn shape(bytes: &[u8]) -> Result<Shape, ImageError> {
    let decoder = decoder(bytes)?;
    let (width, height) = decoder.dimensions();
    let channels = if decoder.color_type().has_color() { 3 } else { 1 };
    Ok(Shape { channels, height: height as usize, width: width as usize })
}

/// Decodes a picture; transparency is dropped and deeper samples become bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<DynamicImage, ImageError> {
    DynamicImage::from_decoder(decoder(bytes)?)
}

/// Writes a picture's planes to `out`; grey ones fill all three planes where three are wanted.
///
/// The picture's height and width must be those of `shape`.
pub(super) fn planes(picture: &DynamicImage, shape: Shape, out: &mut [u8]) {
    if shape.channels == 1 {
        out.copy_from_slice(picture.to_luma8().as_raw());
    } else {
        to_planes(picture.to_rgb8().as_raw(), shape, out);
    }
}

/// Takes H×W×C values apart into planes.
pub(super) fn to_planes(interleaved: &[u8], shape: Shape, out: &mut [u8]) {
    for (channel, plane) in out.chunks_mut((shape.height * shape.width).max(1)).enumerate() {
        let values = interleaved.iter().skip(channel).step_by(shape.channels);
        plane.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    }
}

/// Decodes a picture that must have the height and width of `shape` into `out`.
pub(super) fn decode_into(
    bytes: &[u8],
    shape: Shape,
    place: impl Fn() -> Place,
    out: &mut [u8],
) -> Result<(), DatasetError> {
    let picture = decode(bytes).map_err(|source| DatasetError::Image { place: place(), source })?;
    let channels = if picture.color().has_color() { 3 } else { 1 };
    let found =
        Shape { channels, height: picture.height() as usize, width: picture.width() as usize };
    // Grey pictures may be among coloured ones, not the other way round.
    if (found.height, found.width) != (shape.height, shape.width) || channels > shape.channels {
        return Err(DatasetError::Size {
            place: place(),
            expected: shape.to_string(),
            found: found.to_string(),
        });
    }
    planes(&picture, shape, out);
    Ok(())
}

/// Makes `n` images of one shape in parallel; `fill` writes the planes of one.
pub(super) fn fill(
    n: usize,
    shape: Shape,
    fill: impl Fn(usize, &mut [u8]) -> Result<(), DatasetError> + Sync,
) -> Result<Pixels, DatasetError> {
    let mut bytes = zeros(n, shape)?;
    fill_rows(&mut bytes, shape, fill)?;
    stack(bytes, n, shape)
}

/// Room for `n` images, or an error where there is not so much memory.
pub(super) fn zeros(n: usize, shape: Shape) -> Result<Vec<u8>, DatasetError> {
    let too_large = || DatasetError::TooLarge { images: n, shape: shape.to_string() };
    let total = n.checked_mul(shape.len()).ok_or_else(too_large)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(total).map_err(|_| too_large())?;
    bytes.resize(total, 0);
    Ok(bytes)
}

/// Fills images of one shape in parallel.
pub(super) fn fill_rows(
    bytes: &mut [u8],
    shape: Shape,
    fill: impl Fn(usize, &mut [u8]) -> Result<(), DatasetError> + Sync,
) -> Result<(), DatasetError> {
    // Not `try_for_each`: which of several bad images is named must not depend on the threads.
    let first = bytes
        .par_chunks_mut(shape.len().max(1))
        .enumerate()
        .filter_map(|(row, out)| fill(row, out).err().map(|error| (row, error)))
        .min_by_key(|(row, _)| *row);
    first.map_or(Ok(()), |(_, error)| Err(error))
}

/// The array of `n` images of one shape.
pub(super) fn stack(bytes: Vec<u8>, n: usize, shape: Shape) -> Result<Pixels, DatasetError> {
    let Shape { channels, height, width } = shape;
    let array = Array4::from_shape_vec((n, channels, height, width), bytes);
    array.map(Pixels::Bytes).map_err(DatasetError::Arrangement)
}
