//! Whether a bundle is what its card says.

pub mod parity;
