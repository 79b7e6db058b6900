//! How convolutions are differentiated.

/// With which operators the gradient of a convolution is written; the numbers are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Convolutions at stride 1, `ConvTranspose` at others and into few channels: the fastest on
    /// ONNX Runtime's own kernels, and the smallest file.
    #[default]
    Mixed,
    /// Convolutions wherever there is one: the fastest where `ConvTranspose` is slow, as in OpenVINO.
    Convolutions,
}
