//! Tensors whose numbers are fields of a message rather than bytes.

use axum::body::Bytes;

use super::proto::InferTensorContents;
use crate::server::ServeError;
use crate::server::kserve::request::Images;
use crate::session::{Classifier, Element};

/// `n` images, encoded pictures or the model's own input.
pub(super) fn images(
    contents: InferTensorContents,
    (is_pictures, n): (bool, usize),
    classifier: &Classifier,
) -> Result<Images, ServeError> {
    if is_pictures {
        let pictures = contents.bytes_contents;
        expect(n, pictures.len(), "pictures in `bytes_contents`")?;
        return Ok(Images::Pictures(pictures));
    }
    let numbers = n * classifier.dims().iter().product::<usize>();
    let tensor: Bytes = match classifier.element() {
        Element::Uint8 => {
            expect(numbers, contents.uint_contents.len(), "numbers in `uint_contents`")?;
            let bytes: Result<Vec<u8>, _> =
                contents.uint_contents.into_iter().map(u8::try_from).collect();
            let bad = |_| ServeError::invalid("expected numbers from 0 to 255 in `uint_contents`");
            bytes.map_err(bad)?.into()
        }
        Element::Float32 => {
            expect(numbers, contents.fp32_contents.len(), "numbers in `fp32_contents`")?;
            contents.fp32_contents.into_iter().flat_map(f32::to_le_bytes).collect()
        }
        Element::Float64 => {
            expect(numbers, contents.fp64_contents.len(), "numbers in `fp64_contents`")?;
            contents.fp64_contents.into_iter().flat_map(f64::to_le_bytes).collect()
        }
        Element::Float16 | Element::Bfloat16 => {
            let what = "numbers of 16 bits have no typed contents, expected `raw_input_contents`";
            return Err(ServeError::invalid(what));
        }
    };
    Ok(Images::Tensor(tensor))
}

fn expect(expected: usize, found: usize, what: &str) -> Result<(), ServeError> {
    if expected == found {
        return Ok(());
    }
    Err(ServeError::invalid(format!("expected {expected} {what}, found {found}")))
}
