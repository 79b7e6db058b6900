//! How images and kernels lie in memory.

use tch::Tensor;

use super::TorchError;

/// The same `N × C × H × W` tensor with the channels of a pixel side by side, which convolutions
/// on processors and on recent GPUs are fastest with; other shapes as they are.
///
/// Nothing is copied where the values lie so already. libtorch follows the layout of an operator's
/// input, so it is enough to lay out images and kernels.
pub(crate) fn channels_last(tensor: &Tensor) -> Result<Tensor, TorchError> {
    let [n, channels, h, w] = tensor.size()[..] else {
        return Ok(tensor.shallow_clone());
    };
    if channels == 1 {
        // Both layouts are the same bytes; only the strides say which one is meant.
        let strides = [h * w, 1, w, 1];
        return Ok(tensor.f_contiguous()?.f_as_strided([n, 1, h, w], strides, None::<i64>)?);
    }
    Ok(tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn moves_bytes_and_not_values() {
        for channels in [1, 3] {
            let count = 2 * channels * 4 * 5;
            let plain = Tensor::arange(count, (Kind::Float, Device::Cpu)).view([2, channels, 4, 5]);
            let last = channels_last(&plain).unwrap();
            assert_eq!(last, plain);
            assert_eq!(last.stride(), [20 * channels, 1, 5 * channels, channels]);
            assert_eq!(channels_last(&last).unwrap().data_ptr(), last.data_ptr(), "no second copy");
        }
        let weights = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu));
        assert_eq!(channels_last(&weights).unwrap().stride(), [2, 1]);
    }
}
