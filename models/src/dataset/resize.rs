//! Images of another size.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma, Primitive};
use ndarray::Array4;
use rayon::prelude::*;

use super::{Dataset, Pixels, digest};

impl Dataset {
    /// The data set with every image at this height and width, stretched where their ratio differs.
    ///
    /// Each channel goes through the triangle filter, which is bilinear interpolation where images
    /// grow and, where they shrink, averages over all pixels that fall together, so nothing is
    /// skipped. Bytes stay bytes, rounded. The digest is that of the resized images.
    pub fn resized(&self, height: usize, width: usize) -> Self {
        let [_, _, h, w] = self.pixels.shape();
        if (h, w) == (height, width) {
            return self.clone();
        }
        let pixels = self.pixels.resized(height, width);
        let digest = digest(&pixels, &self.labels, &self.classes);
        let (labels, classes) = (self.labels.clone(), self.classes.clone());
        Self { split: self.split, pixels, labels, classes, counted: self.counted, digest }
    }
}

impl Pixels {
    fn resized(&self, height: usize, width: usize) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(planes(bytes, height, width)),
            Self::Floats(floats) => {
                // Weights are positive and sum to 1, but for rounding.
                let mut resized = planes(floats, height, width);
                resized.mapv_inplace(|pixel| pixel.clamp(0.0, 1.0));
                Self::Floats(resized)
            }
        }
    }
}

/// Every channel of every image by itself.
fn planes<T: Primitive + Default + Send + Sync + 'static>(
    images: &Array4<T>,
    height: usize,
    width: usize,
) -> Array4<T> {
    let (n, c, h, w) = images.dim();
    let mut out = Array4::from_elem((n, c, height, width), T::default());
    let mut pairs: Vec<_> = images.outer_iter().zip(out.outer_iter_mut()).collect();
    pairs.par_iter_mut().for_each(|(from, to)| {
        for (from, mut to) in from.outer_iter().zip(to.outer_iter_mut()) {
            let plane = ImageBuffer::from_fn(w as u32, h as u32, |x, y| {
                Luma([from[[y as usize, x as usize]]])
            });
            let size = (width as u32, height as u32);
            let resized = imageops::resize(&plane, size.0, size.1, FilterType::Triangle);
            for (to, from) in to.iter_mut().zip(resized.as_raw()) {
                *to = *from;
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Request, Split, Synthetic};
    use super::*;

    fn images() -> Dataset {
        let synthetic: Synthetic = "synthetic:3x2x8x6".parse().unwrap();
        Dataset::synthetic(&synthetic, &Request::new(Split::Test).limit(5)).unwrap()
    }

    #[test]
    fn a_flat_image_stays_flat_and_half_the_size_is_the_average() {
        let mut data = images();
        data.pixels = Pixels::Bytes(Array4::from_elem((5, 2, 8, 6), 77));
        assert_eq!(data.resized(20, 3).pixels, Pixels::Bytes(Array4::from_elem((5, 2, 20, 3), 77)));
        let checks = Array4::from_shape_fn((1, 1, 8, 8), |(_, _, y, x)| ((x + y) % 2) as f32);
        let Pixels::Floats(half) = Pixels::Floats(checks).resized(4, 4) else { unreachable!() };
        // A checkerboard has no detail that half the pixels could hold.
        assert!(half.iter().all(|pixel| (pixel - 0.5).abs() < 0.1), "{half}");
    }

    #[test]
    fn the_same_size_is_the_same_data_and_another_is_not() {
        let data = images();
        assert_eq!(data.resized(8, 6).digest, data.digest);
        let other = data.resized(4, 4);
        assert_eq!((other.input(), other.len()), ([2, 4, 4], 5));
        assert_ne!(other.digest, data.digest);
        assert_eq!(other.labels, data.labels);
        assert_eq!(other.digest, images().resized(4, 4).digest);
    }
}
