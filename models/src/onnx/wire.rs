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

    /// What it is called, and the fields that it has in the version of the format that is read.
    fn fields(self) -> (&'static str, &'static [u64]) {
        match self {
            Self::Model => ("the model", &[1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26]),
            Self::Graph => ("the graph", &[1, 2, 5, 10, 11, 12, 13, 14, 15, 16]),
            Self::Node => ("a node", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            Self::Attribute => {
                ("an attribute", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 20, 21, 22, 23])
            }
            Self::Tensor => ("a tensor", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16]),
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
    while let Some((field, content)) = next_field(&mut bytes) {
        let Some(content) = content else { continue };
        if let Some(inner) = message.inside(field) {
            sum += numbers(content, inner);
        } else if message.is_numbers(field) {
            sum += content.len();
        }
    }
    sum
}

/// Whether a tensor of an encoded model says where else its numbers lie (`external_data`).
pub(super) fn has_external_data(bytes: &[u8]) -> bool {
    has_external(bytes, Message::Model)
}

fn has_external(mut bytes: &[u8], message: Message) -> bool {
    while let Some((field, content)) = next_field(&mut bytes) {
        let Some(content) = content else { continue };
        let inner = message.inside(field);
        if matches!((message, field), (Message::Tensor, 13))
            || inner.is_some_and(|inner| has_external(content, inner))
        {
            return true;
        }
    }
    false
}

/// The first field of an encoded model that this version of the format does not have, as
/// `field 77 of a node`.
///
/// The decoder skips such fields, and another program's need not: what it reads there was checked by
/// nobody.
pub fn unknown_field(bytes: &[u8]) -> Option<String> {
    unknown(bytes, Message::Model)
}

fn unknown(mut bytes: &[u8], message: Message) -> Option<String> {
    while let Some((field, content)) = next_field(&mut bytes) {
        let (name, fields) = message.fields();
        if !fields.contains(&field) {
            return Some(format!("field {field} of {name}"));
        }
        let inner = content.and_then(|content| Some((content, message.inside(field)?)));
        if let Some(found) = inner.and_then(|(content, inner)| unknown(content, inner)) {
            return Some(found);
        }
    }
    None
}

/// The next field's number and, where its length is written before it, its content; `None` at the
/// end and where the encoding is broken. A group's fields come as if they were not in it.
pub fn next_field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Option<&'b [u8]>)> {
    let key = varint(bytes)?;
    let length = match key & 7 {
        0 => {
            varint(bytes)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        // Where a group begins and ends: the decoder skips it, and reads on.
        3 | 4 => 0,
        5 => 4,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((key >> 3, (key & 7 == 2).then_some(content)))
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
    fn fields_of_no_version_are_named() {
        let node = NodeProto { op_type: Some("Relu".into()), ..Default::default() };
        let mut node = node.encode_to_vec();
        prost::encoding::int64::encode(77, &5, &mut node);
        let mut graph = Vec::new();
        prost::encoding::bytes::encode(1, &node, &mut graph);
        let mut model = Vec::new();
        prost::encoding::bytes::encode(7, &graph, &mut model);
        assert!(ModelProto::decode(&model[..]).is_ok());
        assert_eq!(unknown_field(&model).as_deref(), Some("field 77 of a node"));
        // Nor does an empty group hide what follows it.
        let hidden = [&[0x0b, 0x0c][..], &model].concat();
        assert_eq!(unknown_field(&hidden).as_deref(), Some("field 77 of a node"));
        let group = [&[0x9b, 0x06, 0x9c, 0x06][..], &model].concat();
        assert!(ModelProto::decode(&group[..]).is_ok());
        assert_eq!(unknown_field(&group).as_deref(), Some("field 99 of the model"));
        let known = ModelProto::decode(&model[..]).unwrap().encode_to_vec();
        assert_eq!(unknown_field(&known), None);
    }

    #[test]
    fn broken_bytes_end_the_count() {
        for bytes in [&[0xff; 12][..], &[0x3a, 0xff, 0xff, 0x03], &[0x3f], &[0x08], &[0x0b]] {
            assert_eq!(structure(bytes), bytes.len());
        }
    }
}
