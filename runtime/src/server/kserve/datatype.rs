//! The protocol's names of numbers.

use crate::session::Element;

/// Encoded pictures: each a length in four bytes, little-endian, and the file.
pub(in crate::server) const BYTES: &str = "BYTES";
/// What logits are.
pub(in crate::server) const LOGITS: &str = "FP32";

/// The protocol's name: `FP32`.
pub(in crate::server) fn name(element: Element) -> &'static str {
    match element {
        Element::Uint8 => "UINT8",
        Element::Float16 => "FP16",
        Element::Bfloat16 => "BF16",
        Element::Float32 => "FP32",
        Element::Float64 => "FP64",
    }
}

/// The name in a model configuration: `TYPE_FP32`.
pub(super) fn in_config(element: Element) -> String {
    format!("TYPE_{}", name(element))
}
