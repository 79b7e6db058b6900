//! How much of a file is structure, told before anything is allocated for it.
//!
//! Two bytes of protobuf can ask for a message of several hundred bytes in memory. Numbers are large
//! and structure is small in every honest model, so the structure alone is limited.

/// The largest part of a file that may be something else than numbers.
pub(super) const MAX_STRUCTURE: usize = 32 << 20;

#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

impl Message {
    /// What lies in `field`, if it can hold tensors.
    fn inside(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph | Self::Attribute, 5) => Some(Self::Tensor),
            (Self::Node, 5) => Some(Self::Attribute),
            _ => None,
        }
    }

    /// Whether `field` holds a tensor's numbers: `float_data`, `int32_data`, `int64_data`,
    /// `raw_data`, `double_data`, `uint64_data`.
    fn is_numbers(self, field: u64) -> bool {
        matches!((self, field), (Self::Tensor, 4 | 5 | 7 | 9 | 10 | 11))
    }
}

/// The bytes of an encoded model that are not the numbers of its tensors.
///
/// Where the encoding is broken the rest counts as structure; the decoder will say what is wrong.
pub(super) fn structure(bytes: &[u8]) -> usize {
    bytes.len() - numbers(bytes, Message::Model)
}

fn numbers(mut bytes: &[u8], message: Message) -> usize {
    let mut sum = 0;
    while let Some(key) = varint(&mut bytes) {
        let field = key >> 3;
        let length = match key & 7 {
            0 => {
                if varint(&mut bytes).is_none() {
                    return sum;
                }
                0
            }
            1 => 8,
            2 => match varint(&mut bytes).map(usize::try_from) {
                Some(Ok(length)) => length,
                _ => return sum,
            },
            5 => 4,
            _ => return sum,
        };
        let Some((content, rest)) = bytes.split_at_checked(length) else { return sum };
        bytes = rest;
        if key & 7 == 2 {
            if let Some(inner) = message.inside(field) {
                sum += numbers(content, inner);
            } else if message.is_numbers(field) {
                sum += length;
            }
        }
    }
    sum
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{GraphProto, ModelProto, NodeProto, TensorProto};
    use prost::Message as _;

    #[test]
    fn numbers_do_not_count_and_nodes_do() {
        let weight = TensorProto { raw_data: Some(vec![0; 10_000]), ..Default::default() };
        let graph = GraphProto { initializer: vec![weight], ..Default::default() };
        let model = ModelProto { graph: Some(graph), ..Default::default() };
        assert!(structure(&model.encode_to_vec()) < 20);
        let graph = GraphProto { node: vec![NodeProto::default(); 500], ..Default::default() };
        let model = ModelProto { graph: Some(graph), ..Default::default() };
        assert!(structure(&model.encode_to_vec()) > 1000);
    }

    #[test]
    fn broken_bytes_end_the_count() {
        for bytes in [&[0xff; 12][..], &[0x3a, 0xff, 0xff, 0x03], &[0x3f], &[0x08]] {
            assert_eq!(structure(bytes), bytes.len());
        }
    }
}
