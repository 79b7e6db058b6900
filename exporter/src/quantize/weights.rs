//! Weights and biases as integers.

use ndarray::{Array1, ArrayD, Axis};

/// A bias of a layer is at most so many units of its scale, far from where an `i32` ends: the sum
/// of the products comes on top.
const LARGEST_BIAS: f32 = 1_073_741_824.0;
/// No scale is smaller: a product of two must still be a number.
const SMALLEST_SCALE: f32 = 1e-12;

/// A weight in signed bytes, `w ≈ s q` with a scale for each output channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// The bytes, in the weight's shape.
    pub integers: ArrayD<i8>,
    /// The scales, one a channel.
    pub scales: Array1<f32>,
}

impl Weights {
    /// The largest byte: 127, or with a bit spared 63, so that processors which add two products in
    /// 16 bits (AVX2, AVX-512 without VNNI) cannot overflow.
    pub fn largest(reduce_range: bool) -> f32 {
        if reduce_range { 63.0 } else { 127.0 }
    }

    /// Rounds `weight`, whose output channels lie along `axis`, for an input of scale `input`.
    ///
    /// A channel's scale is that of its largest weight, or the smallest with which its bias still
    /// fits an `i32`.
    pub fn new(
        weight: &ArrayD<f32>,
        axis: usize,
        (bias, input): (Option<&Array1<f32>>, f32),
        largest: f32,
    ) -> Self {
        let mut integers = ArrayD::zeros(weight.raw_dim());
        let mut scales = Array1::zeros(weight.len_of(Axis(axis)));
        let channels = weight.axis_iter(Axis(axis)).zip(integers.axis_iter_mut(Axis(axis)));
        for (channel, (from, mut to)) in channels.enumerate() {
            let reach = from.iter().fold(0.0_f32, |reach, w| reach.max(w.abs()));
            let shift = bias.and_then(|bias| bias.get(channel)).copied().unwrap_or(0.0);
            let scale =
                (reach / largest).max(shift.abs() / (input * LARGEST_BIAS)).max(SMALLEST_SCALE);
            scales[channel] = scale;
            to.zip_mut_with(&from, |q, w| {
                *q = (w / scale).round_ties_even().clamp(-largest, largest) as i8;
            });
        }
        Self { integers, scales }
    }

    /// The bias in units of the product of both scales, with those units.
    pub fn bias(&self, bias: &Array1<f32>, input: f32) -> (Array1<i32>, Array1<f32>) {
        let units = self.scales.mapv(|scale| scale * input);
        let integers = bias
            .iter()
            .zip(&units)
            .map(|(b, unit)| (f64::from(*b) / f64::from(*unit)).round_ties_even() as i32);
        (integers.collect(), units)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn each_channel_has_the_scale_of_its_largest_weight() {
        let weight = array![[1.27, -0.5], [0.0, 0.0], [-12.7, 12.6]].into_dyn();
        let weights = Weights::new(&weight, 0, (None, 0.1), Weights::largest(false));
        assert_eq!(weights.integers, array![[127, -50], [0, 0], [-127, 126]].into_dyn());
        assert!((weights.scales[0] - 0.01).abs() < 1e-7 && weights.scales[1] > 0.0);
        let across = Weights::new(&weight, 1, (None, 0.1), Weights::largest(true));
        assert_eq!(across.integers, array![[6, -2], [0, 0], [-63, 63]].into_dyn());
    }

    #[test]
    fn a_bias_never_overflows() {
        // The second channel's weights are next to nothing beside its bias.
        let weight = array![[0.5_f32], [1e-9]].into_dyn();
        let bias = array![0.25_f32, -3.0];
        let weights = Weights::new(&weight, 0, (Some(&bias), 0.02), 127.0);
        let (integers, units) = weights.bias(&bias, 0.02);
        for (integer, (unit, bias)) in integers.iter().zip(units.iter().zip(&bias)) {
            assert!((*integer as f32 * unit - bias).abs() < 1e-4, "{integer} · {unit}");
        }
        assert!(integers[1].abs() <= 1 << 30);
        assert_eq!(weights.bias(&array![0.0, 0.0], 0.02).0, array![0, 0]);
    }
}
