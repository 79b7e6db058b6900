//! The loss of JPEG compression, as libjpeg's default encoder and decoder make it.
//!
//! Entropy coding loses nothing, so none is done: colours to YCbCr, chroma halved both ways (4:2:0),
//! the accurate integer DCT, quantisation by the standard tables at a quality, and all the way back
//! with the triangle filter that libjpeg enlarges chroma with. Byte for byte what Pillow gives.
//!
//! # References
//! ITU-T T.81, annex K.1 (tables); Loeffler, Ligtenberg and Moschytz 1989 (the DCT).

use ndarray::{Array3, ArrayView3};

/// Of the luminance, row by row.
#[rustfmt::skip]
const LUMINANCE: [i32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
/// Of both colour differences.
#[rustfmt::skip]
const CHROMINANCE: [i32; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// One component.
struct Component {
    height: usize,
    width: usize,
    values: Vec<i32>,
}

impl Component {
    fn at(&self, y: usize, x: usize) -> i32 {
        self.values[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
    }

    /// Compresses and decompresses each block of 8×8; the last row and column go on at the border.
    fn quantise(&mut self, table: &[i32; 64]) {
        let mut block = [0; 64];
        for top in (0..self.height).step_by(8) {
            for left in (0..self.width).step_by(8) {
                for (i, v) in block.iter_mut().enumerate() {
                    *v = self.at(top + i / 8, left + i % 8) - 128;
                }
                forward(&mut block);
                for (v, step) in block.iter_mut().zip(table) {
                    // The transform gives eight times the coefficients.
                    let level = (v.abs() + step * 4) / (step * 8);
                    *v = v.signum() * level * step;
                }
                inverse(&mut block);
                for y in top..(top + 8).min(self.height) {
                    for x in left..(left + 8).min(self.width) {
                        let v = block[(y - top) * 8 + x - left] + 128;
                        self.values[y * self.width + x] = v.clamp(0, 255);
                    }
                }
            }
        }
    }

    /// Means of 2×2, rounded up and down in turn; an odd last row or column counts twice, and the
    /// last column goes on to fill whole blocks before the means are taken.
    fn halved(&self) -> Self {
        let (height, width) = (self.height.div_ceil(2), self.width.div_ceil(16) * 8);
        let mean = |i: usize| {
            let (y, x) = (i / width * 2, i % width * 2);
            let sum = self.at(y, x) + self.at(y, x + 1) + self.at(y + 1, x) + self.at(y + 1, x + 1);
            (sum + 1 + (i % width % 2) as i32) >> 2
        };
        Self { height, width, values: (0..height * width).map(mean).collect() }
    }

    /// Enlarged to `height`×`width` by the triangle filter.
    fn doubled(&self, height: usize, width: usize) -> Self {
        let mut values = Vec::with_capacity(height * width);
        let mut sums = vec![0; width.div_ceil(2)];
        for y in 0..height {
            let near = y / 2;
            let far = if y % 2 == 0 { near.saturating_sub(1) } else { near + 1 };
            for (x, sum) in sums.iter_mut().enumerate() {
                *sum = self.at(near, x) * 3 + self.at(far, x);
            }
            values.extend((0..width).map(|x| {
                let near = x / 2;
                if x % 2 == 0 {
                    (sums[near] * 3 + sums[near.saturating_sub(1)] + 8) >> 4
                } else {
                    (sums[near] * 3 + sums[(near + 1).min(sums.len() - 1)] + 7) >> 4
                }
            }));
        }
        Self { height, width, values }
    }
}

/// A table at a quality of 1 to 100.
fn scaled(table: &[i32; 64], quality: i32) -> [i32; 64] {
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    table.map(|step| ((step * percent + 50) / 100).clamp(1, 255))
}

/// Compresses the image at a quality of 1 to 100 and decompresses it.
pub(super) fn jpeg_compression(image: &ArrayView3<'_, u8>, quality: i32) -> Array3<u8> {
    let (_, height, width) = image.dim();
    let [mut luma, mut blue, mut red] = ycc(image);
    luma.quantise(&scaled(&LUMINANCE, quality));
    let table = scaled(&CHROMINANCE, quality);
    for chroma in [&mut blue, &mut red] {
        let mut half = chroma.halved();
        half.quantise(&table);
        *chroma = half.doubled(height, width);
    }
    let mut out = Array3::zeros((3, height, width));
    for ((i, y), (cb, cr)) in
        luma.values.iter().enumerate().zip(blue.values.iter().zip(&red.values))
    {
        let (cb, cr) = (cb - 128, cr - 128);
        let place = |channel| [channel, i / width, i % width];
        let byte = |v: i32| v.clamp(0, 255) as u8;
        out[place(0)] = byte(y + ((91_881 * cr + 32_768) >> 16));
        out[place(1)] = byte(y + ((-22_554 * cb - 46_802 * cr + 32_768) >> 16));
        out[place(2)] = byte(y + ((116_130 * cb + 32_768) >> 16));
    }
    out
}

/// Luminance and the differences of blue and red, in 16 fractional bits as libjpeg reckons.
fn ycc(image: &ArrayView3<'_, u8>) -> [Component; 3] {
    let (_, height, width) = image.dim();
    let half = (128 << 16) + 32_767;
    let component = |weights: [i32; 3], offset: i32| {
        let mut values = vec![offset; height * width];
        for (channel, k) in image.outer_iter().zip(weights) {
            for (v, byte) in values.iter_mut().zip(channel) {
                *v += k * i32::from(*byte);
            }
        }
        for v in &mut values {
            *v >>= 16;
        }
        Component { height, width, values }
    };
    [
        component([19_595, 38_470, 7_471], 32_768),
        component([-11_059, -21_709, 32_768], half),
        component([32_768, -27_439, -5_329], half),
    ]
}

/// Fractional bits of the DCT's constants.
const BITS: i32 = 13;
/// Fractional bits kept between its two passes.
const PASS: i32 = 2;

/// Shifts right, rounding.
fn descale(v: i32, bits: i32) -> i32 {
    (v + (1 << (bits - 1))) >> bits
}

/// Applies a one-dimensional transform to the eight lines that begin at multiples of `line` and
/// whose values are `step` apart.
fn lines(block: &mut [i32; 64], line: usize, step: usize, pass: impl Fn([i32; 8]) -> [i32; 8]) {
    for start in (0..8).map(|i| i * line) {
        let mut values = [0; 8];
        for (i, v) in values.iter_mut().enumerate() {
            *v = block[start + i * step];
        }
        for (i, v) in pass(values).into_iter().enumerate() {
            block[start + i * step] = v;
        }
    }
}

/// The odd half, which forward and inverse share.
fn odd(a: [i32; 4]) -> [i32; 4] {
    let [z1, z2, z3, z4] = [a[0] + a[3], a[1] + a[2], a[0] + a[2], a[1] + a[3]];
    let z5 = (z3 + z4) * 9_633;
    let (z1, z2) = (z1 * -7_373, z2 * -20_995);
    let (z3, z4) = (z3 * -16_069 + z5, z4 * -3_196 + z5);
    [
        a[0] * 2_446 + z1 + z3,
        a[1] * 16_819 + z2 + z4,
        a[2] * 25_172 + z2 + z3,
        a[3] * 12_299 + z1 + z4,
    ]
}

/// The DCT, times eight.
fn forward(block: &mut [i32; 64]) {
    let pass = |d: [i32; 8], first: bool| {
        let sum = [d[0] + d[7], d[1] + d[6], d[2] + d[5], d[3] + d[4]];
        let bits = if first { BITS - PASS } else { BITS + PASS };
        let whole = |v: i32| if first { v << PASS } else { descale(v, PASS) };
        let (outer, inner) = (sum[0] + sum[3], sum[1] + sum[2]);
        let (t12, t13) = (sum[1] - sum[2], sum[0] - sum[3]);
        let z1 = (t12 + t13) * 4_433;
        let o = odd([d[3] - d[4], d[2] - d[5], d[1] - d[6], d[0] - d[7]]);
        [
            whole(outer + inner),
            descale(o[3], bits),
            descale(z1 + t13 * 6_270, bits),
            descale(o[2], bits),
            whole(outer - inner),
            descale(o[1], bits),
            descale(z1 - t12 * 15_137, bits),
            descale(o[0], bits),
        ]
    };
    lines(block, 8, 1, |d| pass(d, true));
    lines(block, 1, 8, |d| pass(d, false));
}

/// The inverse DCT.
fn inverse(block: &mut [i32; 64]) {
    let pass = |d: [i32; 8], bits: i32| {
        let z1 = (d[2] + d[6]) * 4_433;
        let (t2, t3) = (z1 - d[6] * 15_137, z1 + d[2] * 6_270);
        let (t0, t1) = ((d[0] + d[4]) << BITS, (d[0] - d[4]) << BITS);
        let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];
        let o = odd([d[7], d[5], d[3], d[1]]);
        [
            descale(even[0] + o[3], bits),
            descale(even[1] + o[2], bits),
            descale(even[2] + o[1], bits),
            descale(even[3] + o[0], bits),
            descale(even[3] - o[0], bits),
            descale(even[2] - o[1], bits),
            descale(even[1] - o[2], bits),
            descale(even[0] - o[3], bits),
        ]
    };
    lines(block, 1, 8, |d| pass(d, BITS - PASS));
    lines(block, 8, 1, |d| pass(d, BITS + PASS + 3));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_comes_back() {
        let values: [i32; 64] = std::array::from_fn(|i| ((i * 37) % 200) as i32 - 100);
        let mut block = values;
        forward(&mut block);
        assert_eq!(block[0], values.iter().sum::<i32>(), "eight times the mean times eight");
        let mut back = block.map(|v| descale(v, 3));
        inverse(&mut back);
        assert!(back.iter().zip(&values).all(|(a, b)| (a - b).abs() <= 1));
    }

    #[test]
    fn the_best_quality_loses_little() {
        let image =
            Array3::from_shape_fn((3, 9, 11), |(c, y, x)| (80 + c * 20 + y * 3 + x * 2) as u8);
        let out = jpeg_compression(&image.view(), 100);
        assert!(image.iter().zip(&out).all(|(a, b)| a.abs_diff(*b) <= 3));
    }
}
