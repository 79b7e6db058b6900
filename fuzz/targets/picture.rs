//! The decoding of pictures from strangers.

#![no_main]

use image::ImageFormat;
use libfuzzer_sys::fuzz_target;
use rift_runtime::picture::{self, Acceptance};

const FORMATS: [ImageFormat; 2] = [ImageFormat::Png, ImageFormat::Jpeg];

fuzz_target!(|bytes: &[u8]| {
    let acceptance = Acceptance { formats: &FORMATS, pixels: 1 << 20 };
    if let Ok(pixels) = picture::from_bytes(bytes, [3, 32, 32], acceptance) {
        assert!(pixels.iter().all(|value| (0.0..=1.0).contains(value)));
    }
});
