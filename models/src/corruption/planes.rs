//! Images while they are worked on: one plane of float64 a channel.

use ndarray::{Array3, ArrayView3};

/// One channel, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plane {
    /// Rows.
    pub(super) height: usize,
    /// Columns.
    pub(super) width: usize,
    /// The values.
    pub(super) values: Vec<f64>,
}

impl Plane {
    /// All values 0.
    pub(super) fn zeros(height: usize, width: usize) -> Self {
        Self { height, width, values: vec![0.0; height * width] }
    }

    /// A value a position, drawn row by row.
    pub(super) fn draw(height: usize, width: usize, mut value: impl FnMut() -> f64) -> Self {
        Self { height, width, values: (0..height * width).map(|_| value()).collect() }
    }

    /// One row.
    pub(super) fn row(&self, y: usize) -> &[f64] {
        &self.values[y * self.width..(y + 1) * self.width]
    }

    /// One row, to write.
    pub(super) fn row_mut(&mut self, y: usize) -> &mut [f64] {
        &mut self.values[y * self.width..(y + 1) * self.width]
    }

    /// Replaces each value.
    pub(super) fn map(&mut self, value: impl Fn(f64) -> f64) {
        for v in &mut self.values {
            *v = value(*v);
        }
    }
}

/// Red, green and blue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rgb(pub(super) [Plane; 3]);

impl Rgb {
    /// Pixels in [0, 1] of bytes, C×H×W with three channels.
    pub(super) fn of(image: &ArrayView3<'_, u8>) -> Self {
        let (_, height, width) = image.dim();
        Self([0, 1, 2].map(|channel| {
            let bytes = image.index_axis(ndarray::Axis(0), channel);
            let values = bytes.iter().map(|byte| f64::from(*byte) / 255.0).collect();
            Plane { height, width, values }
        }))
    }

    /// Height and width.
    pub(super) fn dim(&self) -> (usize, usize) {
        (self.0[0].height, self.0[0].width)
    }

    /// Replaces each channel.
    pub(super) fn each(mut self, change: impl FnMut(&mut Plane)) -> Self {
        self.0.iter_mut().for_each(change);
        self
    }

    /// Replaces each value.
    pub(super) fn map(self, value: impl Fn(f64) -> f64) -> Self {
        self.each(|plane| plane.map(&value))
    }

    /// Bytes as the originals make them: clipped to [0, 1], times 255, cut to a whole number.
    pub(super) fn bytes(&self) -> Array3<u8> {
        let (height, width) = self.dim();
        let bytes: Vec<u8> =
            self.0.iter().flat_map(|plane| plane.values.iter().map(|v| byte(*v))).collect();
        Array3::from_shape_vec((3, height, width), bytes)
            .unwrap_or_else(|_| Array3::zeros((3, height, width)))
    }
}

/// `v` in [0, 1] as a byte, cut to a whole number.
pub(super) fn byte(v: f64) -> u8 {
    (v.clamp(0.0, 1.0) * 255.0) as u8
}

/// What lies beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// `a a a | a b c d | d d d`
    Nearest,
    /// `c b a | a b c d | d c b`
    Reflect,
    /// `d c b | a b c d | c b a`, OpenCV's default.
    Reflect101,
}

impl Border {
    /// The position in `0..n` that stands for position `i`.
    pub(super) fn index(self, i: isize, n: usize) -> usize {
        let n = n as isize;
        let i = match self {
            Self::Nearest => i.clamp(0, n - 1),
            Self::Reflect => {
                let i = i.rem_euclid(2 * n);
                if i < n { i } else { 2 * n - 1 - i }
            }
            Self::Reflect101 if n == 1 => 0,
            Self::Reflect101 => {
                let i = i.rem_euclid(2 * n - 2);
                if i < n { i } else { 2 * n - 2 - i }
            }
        };
        i as usize
    }

    /// `line` with `by` values more on both sides, into `out`.
    pub(super) fn pad(self, line: &[f64], by: usize, out: &mut Vec<f64>) {
        out.clear();
        let (n, by) = (line.len() as isize, by as isize);
        out.extend((-by..0).map(|i| line[self.index(i, line.len())]));
        out.extend_from_slice(line);
        out.extend((n..n + by).map(|i| line[self.index(i, line.len())]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_repeat_as_they_are_drawn() {
        let line = [1.0, 2.0, 3.0];
        let mut out = Vec::new();
        for (border, expected) in [
            (Border::Nearest, [1., 1., 1., 1., 1., 2., 3., 3., 3., 3., 3.]),
            (Border::Reflect, [3., 3., 2., 1., 1., 2., 3., 3., 2., 1., 1.]),
            (Border::Reflect101, [1., 2., 3., 2., 1., 2., 3., 2., 1., 2., 3.]),
        ] {
            border.pad(&line, 4, &mut out);
            assert_eq!(out[..], expected, "{border:?}");
        }
        assert_eq!(Border::Reflect101.index(-7, 1), 0);
    }

    #[test]
    fn bytes_survive_the_way_there_and_back_but_for_rounding() {
        let bytes = Array3::from_shape_fn((3, 4, 64), |(c, y, x)| (c * 3 + y * 64 + x) as u8);
        // 255 · (k / 255) is a rounding error below k for some k, and the originals cut.
        let back = Rgb::of(&bytes.view()).bytes();
        assert!(bytes.iter().zip(&back).all(|(a, b)| a - b <= 1));
    }
}
