//! How much of a message is structure, told before anything is allocated for it.
//!
//! Two bytes of protobuf can ask for a message of several hundred bytes in memory, and one byte for a
//! number of eight. Every message is walked as if it were an inference request: others have none of
//! the fields that are entered.

use rift_models::onnx::next_field;

/// The most fields that a message may have, those of its inputs, their contents and its outputs too.
const MOST_FIELDS: usize = 1 << 14;
/// The longest shape, in bytes.
const LONGEST_SHAPE: usize = 256;

/// Why a message is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    /// More fields than any honest one.
    #[error("more than {MOST_FIELDS} fields")]
    Fields,
    /// A shape longer than any honest one.
    #[error("a shape of {0} bytes, expected at most {LONGEST_SHAPE}")]
    Shape(usize),
    /// Numbers that no classifier takes.
    #[error(
        "numbers in field {0} of the contents, expected `raw_input_contents`, `uint_contents`, \
         `fp32_contents`, `fp64_contents` or `bytes_contents`"
    )]
    Contents(u64),
}

#[derive(Clone, Copy)]
enum Part {
    Request,
    Input,
    Output,
    Contents,
}

/// Refuses what would take far more memory than it has bytes; where the encoding is broken, the
/// decoder will say so.
pub(super) fn check(message: &[u8]) -> Result<(), Excess> {
    let mut fields = 0;
    walk(message, Part::Request, &mut fields)
}

fn walk(mut bytes: &[u8], part: Part, fields: &mut usize) -> Result<(), Excess> {
    while let Some((field, content)) = next_field(&mut bytes) {
        let content = content.unwrap_or_default();
        *fields += 1;
        if *fields > MOST_FIELDS {
            return Err(Excess::Fields);
        }
        match (part, field) {
            (Part::Request, 5) => walk(content, Part::Input, fields)?,
            (Part::Request, 6) => walk(content, Part::Output, fields)?,
            (Part::Input, 3) if content.len() > LONGEST_SHAPE => {
                return Err(Excess::Shape(content.len()));
            }
            (Part::Input, 5) => walk(content, Part::Contents, fields)?,
            (Part::Contents, 1 | 2 | 3 | 5) => return Err(Excess::Contents(field)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::proto::model_infer_request::InferInputTensor;
    use super::super::proto::{InferTensorContents, ModelInferRequest};
    use super::*;

    fn with(input: InferInputTensor) -> Vec<u8> {
        ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() }.encode_to_vec()
    }

    #[test]
    fn honest_requests_pass() {
        let contents =
            InferTensorContents { fp32_contents: vec![0.5; 100_000], ..Default::default() };
        let input = InferInputTensor {
            shape: vec![1, 3, 224, 224],
            contents: Some(contents),
            ..Default::default()
        };
        assert_eq!(check(&with(input)), Ok(()));
        assert_eq!(check(b""), Ok(()));
        assert_eq!(check(b"\xff\xff"), Ok(()));
    }

    #[test]
    fn what_grows_in_memory_is_refused() {
        // A million empty inputs in two million bytes.
        assert_eq!(check(&[0x2a, 0].repeat(1 << 20)), Err(Excess::Fields));
        assert_eq!(check(&[0x3a, 0].repeat(1 << 20)), Err(Excess::Fields));
        // The same behind an empty group, which the decoder skips.
        let hidden = [&[0x9b, 0x06, 0x9c, 0x06][..], &[0x2a, 0].repeat(1 << 20)].concat();
        assert_eq!(check(&hidden), Err(Excess::Fields));
        let pictures = InferTensorContents {
            bytes_contents: vec![prost::bytes::Bytes::new(); 1 << 20],
            ..Default::default()
        };
        let input = InferInputTensor { contents: Some(pictures), ..Default::default() };
        assert_eq!(check(&with(input)), Err(Excess::Fields));
        let input = InferInputTensor { shape: vec![1; 1000], ..Default::default() };
        assert_eq!(check(&with(input)), Err(Excess::Shape(1000)));
        let numbers = InferTensorContents { int64_contents: vec![1; 1000], ..Default::default() };
        let input = InferInputTensor { contents: Some(numbers), ..Default::default() };
        assert_eq!(check(&with(input)), Err(Excess::Contents(3)));
    }
}
