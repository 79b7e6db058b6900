//! Images made up on the spot, for tests and for a demonstration without a network connection.
//!
//! Each class is a smooth random texture on a torus; each image is its class's texture, shifted,
//! with an amplitude and a background of its own, and noise. Because of the shifts no single pixel
//! tells the class, yet a small convolutional network learns it within a few epochs.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::class_names;
use super::error::DatasetError;
use super::part::{Half, Order, Part};
use super::picture::{self, Shape};
use super::recognise::Layout;

/// What the specification begins with.
pub(super) const PREFIX: &str = "synthetic:";

/// The most values that are made, in all images together.
const MOST_VALUES: usize = 1 << 33;
/// Points of a texture's lattice on each side; between them it is interpolated.
const LATTICE: usize = 5;

/// A synthetic data set, written `synthetic:CLASSESxCxHxW[,train=N][,test=N][,seed=N]`.
///
/// ```
/// use rift_models::dataset::Synthetic;
///
/// let digits: Synthetic = "synthetic:10x1x28x28,train=100".parse()?;
/// assert_eq!((digits.classes, digits.input, digits.train), (10, [1, 28, 28], 100));
/// # Ok::<(), rift_models::dataset::DatasetError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// How many classes.
    pub classes: usize,
    /// Channels, height and width.
    pub input: [usize; 3],
    /// How many training images; the classes take turns.
    pub train: usize,
    /// How many test images.
    pub test: usize,
    /// Another seed, other textures and images.
    pub seed: u64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self { classes: 10, input: [1, 28, 28], train: 2000, test: 500, seed: 0 }
    }
}

impl FromStr for Synthetic {
    type Err = DatasetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: &str| DatasetError::Synthetic {
            specification: text.to_owned(),
            reason: reason.to_owned(),
        };
        let body = text.strip_prefix(PREFIX).ok_or_else(|| fail("expected `synthetic:…`"))?;
        let mut pieces = body.split(',');
        let extents: Option<Vec<usize>> =
            pieces.next().unwrap_or_default().split('x').map(|n| n.parse().ok()).collect();
        let Some([classes, channels, height, width]) = extents.as_deref() else {
            return Err(fail("expected `CLASSESxCxHxW`, as in `synthetic:10x1x28x28`"));
        };
        let mut made =
            Self { classes: *classes, input: [*channels, *height, *width], ..Self::default() };
        for piece in pieces {
            let set = match piece.split_once('=') {
                Some(("train", n)) => n.parse().map(|n| made.train = n).ok(),
                Some(("test", n)) => n.parse().map(|n| made.test = n).ok(),
                Some(("seed", n)) => n.parse().map(|n| made.seed = n).ok(),
                _ => None,
            };
            set.ok_or_else(|| fail("expected `train=N`, `test=N` or `seed=N` after the shape"))?;
        }
        made.check().map_err(|reason| fail(&reason))?;
        Ok(made)
    }
}

impl fmt::Display for Synthetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { classes, input: [c, h, w], train, test, seed }, prefix) = (self, PREFIX);
        write!(f, "{prefix}{classes}x{c}x{h}x{w},train={train},test={test},seed={seed}")
    }
}

impl Synthetic {
    /// Why it cannot be made, if so.
    fn check(&self) -> Result<(), String> {
        if self.classes < 2 || self.classes > 1 << 16 {
            return Err(format!("expected 2 to 65536 classes, found {}", self.classes));
        }
        if self.input.contains(&0) {
            return Err("expected channels, height and width of at least 1".to_owned());
        }
        let images = self.train.max(self.test).max(self.classes);
        let values = self.input.iter().try_fold(images, |n, extent| n.checked_mul(*extent));
        match values {
            Some(values) if values <= MOST_VALUES => Ok(()),
            _ => Err(format!("expected at most {MOST_VALUES} pixel values")),
        }
    }

    fn shape(&self) -> Shape {
        let [channels, height, width] = self.input;
        Shape { channels, height, width }
    }

    /// The generator of one image, or of one class's texture.
    fn generator(&self, what: &str, index: usize) -> ChaCha8Rng {
        let mut hash = Sha256::new();
        hash.update(b"rift synthetic 1");
        hash.update(self.seed.to_le_bytes());
        hash.update(what.as_bytes());
        let mut generator = ChaCha8Rng::from_seed(hash.finalize().into());
        generator.set_stream(index as u64);
        generator
    }

    /// A class's texture on the lattice, C×5×5, from −1 to 1.
    fn lattice(&self, class: usize) -> Vec<f32> {
        let mut generator = self.generator("texture", class);
        let n = self.input[0] * LATTICE * LATTICE;
        (0..n).map(|_| 2.0 * generator.random::<f32>() - 1.0).collect()
    }

    /// Draws an image of `class`.
    fn draw(&self, lattice: &[f32], generator: &mut ChaCha8Rng, out: &mut [u8]) {
        let Shape { height, width, .. } = self.shape();
        let amplitude = 0.25 + 0.15 * generator.random::<f32>();
        let ground = 0.4 + 0.2 * generator.random::<f32>();
        let mut shift = |extent: usize| generator.random::<f32>() * (extent as f32) * SHIFT;
        let (down, right) = (shift(height), shift(width));
        for (channel, plane) in out.chunks_mut(height * width).enumerate() {
            let lattice = &lattice[channel * LATTICE * LATTICE..][..LATTICE * LATTICE];
            for (at, pixel) in plane.iter_mut().enumerate() {
                let y = ((at / width) as f32 + down) / height as f32;
                let x = ((at % width) as f32 + right) / width as f32;
                let value =
                    ground + amplitude * interpolate(lattice, y, x) + 0.08 * noise(generator);
                *pixel = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        }
    }
}

/// The largest shift, as a part of the image's side.
const SHIFT: f32 = 0.5;

/// Nearly Gaussian with variance 1: a sum of four uniform variables, which is the same on every
/// machine, as a logarithm is not.
fn noise(generator: &mut impl Rng) -> f32 {
    let bits = generator.next_u64();
    let sum: f32 = (0..4).map(|i| ((bits >> (16 * i)) & 0xffff) as f32 / 65536.0).sum();
    (sum - 2.0) * 1.732_050_8
}

/// The lattice's value at a point of the unit torus, bilinear.
fn interpolate(lattice: &[f32], y: f32, x: f32) -> f32 {
    let place = |t: f32| {
        let t = t.fract() * LATTICE as f32;
        let low = (t as usize).min(LATTICE - 1);
        (low, (low + 1) % LATTICE, t - low as f32)
    };
    let ((y0, y1, v), (x0, x1, u)) = (place(y), place(x));
    let at = |y: usize, x: usize| lattice[y * LATTICE + x];
    let row = |y: usize| at(y, x0) * (1.0 - u) + at(y, x1) * u;
    row(y0) * (1.0 - v) + row(y1) * v
}

impl Layout for Synthetic {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn expected(&self, half: Half) -> String {
        match half {
            Half::Train => "`train=N` above 0".to_owned(),
            Half::Test => "`test=N` above 0".to_owned(),
        }
    }

    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError> {
        let made = *self;
        made.check().map_err(|reason| DatasetError::Synthetic {
            specification: made.to_string(),
            reason,
        })?;
        let (n, what) = match half {
            Half::Train => (made.train, "train"),
            Half::Test => (made.test, "test"),
        };
        if n == 0 {
            return Ok(None);
        }
        let pixels = move |rows: &[usize]| {
            let lattices: Vec<_> = (0..made.classes).map(|class| made.lattice(class)).collect();
            picture::fill(rows.len(), made.shape(), |i, out| {
                let lattice = &lattices[rows[i] % made.classes];
                made.draw(lattice, &mut made.generator(what, rows[i]), out);
                Ok(())
            })
        };
        let labels = (0..n).map(|row| row % made.classes).collect();
        let classes = class_names::numbered(made.classes);
        let (order, pixels) = (Order::Stored, Box::new(pixels));
        Ok(Some(Part { labels, classes, counted: false, order, pixels }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, Request, Split};
    use super::*;

    fn made(text: &str, split: Split) -> Dataset {
        Dataset::open(text.as_ref(), &Request::new(split)).unwrap()
    }

    #[test]
    fn specifications() {
        let text = "synthetic:3x1x8x9,train=40,test=7,seed=5";
        assert_eq!(text.parse::<Synthetic>().unwrap().to_string(), text);
        let standard = "synthetic:10x1x28x28".parse::<Synthetic>().unwrap();
        assert_eq!(standard, Synthetic::default());
        for (text, reason) in [
            ("synthetic:", "expected `CLASSESxCxHxW`"),
            ("synthetic:10x1x28", "expected `CLASSESxCxHxW`"),
            ("synthetic:1x1x8x8", "expected 2 to 65536 classes, found 1"),
            ("synthetic:2x0x8x8", "at least 1"),
            ("synthetic:2x1x8x8,colour=3", "expected `train=N`"),
            ("synthetic:2x1x8x8,train=x", "expected `train=N`"),
            ("synthetic:2x1000000000x1000000000x1000000000", "pixel values"),
            ("synthetic:2x1x8x8,train=18446744073709551615", "pixel values"),
        ] {
            let error = text.parse::<Synthetic>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
        let none = Dataset::open("synthetic:2x1x8x8,test=0".as_ref(), &Request::new(Split::Test));
        assert!(none.unwrap_err().to_string().contains("expected `test=N` above 0"));
    }

    #[test]
    fn same_seed_same_images() {
        let first = made("synthetic:4x3x8x8,train=40", Split::Train);
        assert_eq!(first.digest, made("synthetic:4x3x8x8,train=40", Split::Train).digest);
        assert_ne!(first.digest, made("synthetic:4x3x8x8,train=40,seed=1", Split::Train).digest);
        assert_eq!((first.len(), first.class_count(), first.input()), (20, 4, [3, 8, 8]));
        assert_eq!(first.digest.as_str(), PINNED);
    }

    const PINNED: &str = "sha256:7e49e43783ea9e2473a09aa687f540f47a4f9ee040f3ba52184c9866ac119a7f";

    /// The part of test images that are nearest to the mean of their class's training images.
    fn nearest_mean(train: &Dataset, test: &Dataset) -> f64 {
        let (x, y) = (train.batch(0..train.len()), test.batch(0..test.len()));
        let mean = |class: usize| {
            let rows = (0..train.len()).filter(|row| train.labels[*row] == class);
            let images: Vec<_> = rows.map(|row| x.index_axis(ndarray::Axis(0), row)).collect();
            let zero = ndarray::Array3::<f32>::zeros(images[0].raw_dim());
            images.iter().fold(zero, |sum, image| sum + image) / images.len() as f32
        };
        let means: Vec<_> = (0..train.class_count()).map(mean).collect();
        let right = y.outer_iter().zip(&test.labels).filter(|(image, label)| {
            let distance = |class: &usize| (image - &means[*class]).mapv(|d| d * d).sum();
            let nearest = (0..means.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            nearest == Some(**label)
        });
        right.count() as f64 / test.len() as f64
    }

    #[test]
    fn pixels_tell_something_but_not_all() {
        let standard = "synthetic:10x1x28x28";
        let accuracy = nearest_mean(&made(standard, Split::Train), &made(standard, Split::Test));
        assert!((0.2..0.8).contains(&accuracy), "{accuracy}");
    }
}
