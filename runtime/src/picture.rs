//! Pictures as a model takes them.

use std::io::{BufRead, Cursor, Seek};
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};
use ndarray::Array3;

/// The most bytes that a decoded picture may take.
const LARGEST: u64 = 512 << 20;

/// A picture that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// It is in no format that is read.
    #[error("not a picture in a known format, expected {expected}")]
    Format {
        /// The formats that are read.
        expected: &'static str,
    },
    /// It is damaged.
    #[error(transparent)]
    Damaged(#[from] ImageError),
    /// It has too many pixels.
    #[error("the picture has {found} pixels, expected at most {most}")]
    Pixels {
        /// Its pixels.
        found: u64,
        /// The most that are accepted.
        most: u64,
    },
    /// It would take too much memory.
    #[error("the picture would take {found} bytes, expected at most {LARGEST}")]
    Bytes {
        /// The bytes that it would take.
        found: u64,
    },
    /// It has no pixels.
    #[error("the picture is empty")]
    Empty,
    /// No picture has as many channels.
    #[error("the model takes {0} channels, expected 1 (grey), 3 (RGB) or 4 (RGBA)")]
    Channels(usize),
}

/// Which pictures are accepted.
#[derive(Clone, Copy, Debug)]
pub struct Acceptance {
    /// Their formats.
    pub formats: &'static [ImageFormat],
    /// The most pixels.
    pub pixels: u64,
}

/// Reads a picture of any format and size as pixels of shape `input` (channels, height, width).
///
/// The shorter side is resized so that the picture covers the input, and the middle is cut out; a
/// picture of the right size keeps its pixels. Colours follow the model's channels.
///
/// # Errors
/// If the file is no picture, is damaged, or the model takes neither 1 nor 3 nor 4 channels.
pub fn read(path: &Path, input: [usize; 3]) -> Result<Array3<f32>, PictureError> {
    fit(&decode(ImageReader::open(path)?, None)?, input)
}

/// As [`read`], from the file's content, if it is accepted.
///
/// # Errors
/// As [`read`], or if the picture is not accepted.
pub fn from_bytes(
    bytes: &[u8],
    input: [usize; 3],
    acceptance: Acceptance,
) -> Result<Array3<f32>, PictureError> {
    fit(&decode(ImageReader::new(Cursor::new(bytes)), Some(acceptance))?, input)
}

/// The bytes that a picture takes while [`from_bytes`] reads it, if it is accepted.
///
/// # Errors
/// As [`from_bytes`], without looking at more than the file's head.
pub fn decoded_bytes(bytes: &[u8], acceptance: Acceptance) -> Result<u64, PictureError> {
    Ok(open(ImageReader::new(Cursor::new(bytes)), Some(acceptance))?.total_bytes())
}

fn decode<R: BufRead + Seek>(
    reader: ImageReader<R>,
    acceptance: Option<Acceptance>,
) -> Result<DynamicImage, PictureError> {
    let mut decoder = open(reader, acceptance)?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// What decodes a picture that is accepted.
fn open<'r, R: BufRead + Seek + 'r>(
    reader: ImageReader<R>,
    acceptance: Option<Acceptance>,
) -> Result<impl ImageDecoder + 'r, PictureError> {
    // By content: a name's ending may lie.
    let reader = reader.with_guessed_format()?;
    let format = reader.format();
    let is_known = match acceptance {
        None => format.is_some(),
        Some(Acceptance { formats, .. }) => format.is_some_and(|format| formats.contains(&format)),
    };
    if !is_known {
        let expected = match acceptance {
            None => "PNG, JPEG, WebP, BMP, GIF, TIFF or PNM",
            Some(_) => "PNG or JPEG",
        };
        return Err(PictureError::Format { expected });
    }
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let found = u64::from(width) * u64::from(height);
    if let Some(Acceptance { pixels: most, .. }) = acceptance
        && found > most
    {
        return Err(PictureError::Pixels { found, most });
    }
    let found = decoder.total_bytes();
    if found > LARGEST {
        return Err(PictureError::Bytes { found });
    }
    Ok(decoder)
}

fn fit(
    picture: &DynamicImage,
    [channels, height, width]: [usize; 3],
) -> Result<Array3<f32>, PictureError> {
    let (w, h) = (picture.width(), picture.height());
    if w == 0 || h == 0 {
        return Err(PictureError::Empty);
    }
    // What will be the middle is cut out first: the same picture, and no long strip grows huge.
    let scale = (width as f64 / f64::from(w)).max(height as f64 / f64::from(h));
    let kept = |length: usize, all: u32| ((length as f64 / scale).round() as u32).clamp(1, all);
    let (cut_w, cut_h) = (kept(width, w), kept(height, h));
    let cut = picture.crop_imm((w - cut_w) / 2, (h - cut_h) / 2, cut_w, cut_h);
    let cut = if (cut_w as usize, cut_h as usize) == (width, height) {
        cut
    } else {
        cut.resize_exact(width as u32, height as u32, FilterType::Triangle)
    };
    let bytes = match channels {
        1 => cut.to_luma8().into_raw(),
        3 => cut.to_rgb8().into_raw(),
        4 => cut.to_rgba8().into_raw(),
        _ => return Err(PictureError::Channels(channels)),
    };
    let value = |(c, y, x)| f32::from(bytes[(y * width + x) * channels + c]) / 255.0;
    Ok(Array3::from_shape_fn((channels, height, width), value))
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Rgb, RgbImage};

    use super::*;

    #[test]
    fn the_right_size_keeps_its_pixels() {
        let picture = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8 * 50, y as u8 * 60, 255]));
        let pixels = fit(&picture.into(), [3, 4, 5]).unwrap();
        assert_eq!(pixels[[0, 2, 3]], 150.0 / 255.0);
        assert_eq!(pixels[[1, 2, 3]], 120.0 / 255.0);
        assert_eq!(pixels[[2, 0, 0]], 1.0);
    }

    #[test]
    fn the_middle_of_a_wide_picture_is_kept() {
        // Black, then white in the middle third, then black.
        let picture = RgbImage::from_fn(48, 16, |x, _| Rgb([if x / 16 == 1 { 255 } else { 0 }; 3]));
        let pixels = fit(&picture.into(), [3, 8, 8]).unwrap();
        assert_eq!(pixels[[0, 4, 4]], 1.0);
        assert!(pixels.iter().filter(|v| **v > 0.9).count() >= 3 * 8 * 6);
    }

    #[test]
    fn a_long_strip_does_not_grow() {
        let strip = RgbImage::from_pixel(1, 60_000, Rgb([255; 3]));
        assert_eq!(fit(&strip.into(), [3, 64, 64]).unwrap().dim(), (3, 64, 64));
    }

    #[test]
    fn grey_and_colour_follow_the_model() {
        let grey = GrayImage::from_pixel(4, 4, image::Luma([51]));
        let pixels = fit(&grey.into(), [3, 4, 4]).unwrap();
        assert!(pixels.iter().all(|v| *v == 0.2));
        let colour = RgbImage::from_pixel(4, 4, Rgb([10, 20, 30]));
        assert_eq!(fit(&colour.clone().into(), [1, 4, 4]).unwrap().dim(), (1, 4, 4));
        assert!(fit(&colour.into(), [7, 4, 4]).is_err());
    }
}
