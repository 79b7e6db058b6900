//! A model in memory that has been checked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use prost::Message;

use super::proto::{GraphProto, ModelProto, StringStringEntryProto, ValueInfoProto};
use super::{AttributeError, GraphError, TensorError, check, wire};
use crate::artifact::Digest;
use crate::artifact::atomic::{self, AtomicError};

/// The largest file in bytes: protobuf's own limit.
pub const MAX_BYTES: u64 = 2 << 30;

/// An ONNX model that cannot be read, used or written.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is there but is no model that can be used.
    #[error("`{path}` is not a usable ONNX model")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        source: Box<OnnxError>,
    },
    /// There are more bytes than a model can have.
    #[error("{what} of {found} bytes, expected at most {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The largest size.
        limit: u64,
    },
    /// There is more of something than any honest model has.
    #[error("{found} {what}, expected at most {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: usize,
        /// The most.
        limit: usize,
    },
    /// The bytes are no protobuf message.
    #[error("not in the ONNX format or truncated")]
    Decode(#[source] prost::DecodeError),
    /// A part that every model has is not there.
    #[error("the model has no {what}")]
    Missing {
        /// The part.
        what: &'static str,
    },
    /// The model uses a part of ONNX that Rift refuses.
    #[error("expected plain operators, found {what}")]
    Unsupported {
        /// The part.
        what: String,
    },
    /// A stored tensor is broken.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// An attribute is not what its operator needs.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// The nodes do not make a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// An ONNX model whose parts are there and whose stored tensors fit their shapes.
///
/// Refused are external data (what [`with_external_data`](super::with_external_data) has not brought
/// in), functions, subgraphs and sparse tensors: a classifier needs none, and each is a way to hide
/// something from whoever looks at the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    proto: ModelProto,
    opset: i64,
}

/// Decodes a file's content without a look at what it says, for whoever wants to name all that is
/// wrong with it; [`Model::from_proto`] checks it.
///
/// # Errors
/// If there are too many bytes or they are no protobuf message.
pub fn decode(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    let limit = |what, found: usize, limit: u64| match found as u64 {
        found if found > limit => Err(OnnxError::TooLarge { what, found, limit }),
        _ => Ok(()),
    };
    limit("a file", bytes.len(), MAX_BYTES)?;
    limit("a graph's description", wire::structure(bytes), wire::MAX_STRUCTURE as u64)?;
    ModelProto::decode(bytes).map_err(OnnxError::Decode)
}

impl Model {
    /// Reads a model from a file.
    ///
    /// # Errors
    /// If the file cannot be read, is larger than 2 GiB or holds no model that can be used.
    pub fn read(path: &Path) -> Result<Self, OnnxError> {
        let name = || path.display().to_string();
        let read = || {
            let mut bytes = Vec::new();
            File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|source| OnnxError::Read { path: name(), source })?;
        Self::from_bytes(&bytes)
            .map_err(|source| OnnxError::File { path: name(), source: Box::new(source) })
    }

    /// Reads a model from a file's content.
    ///
    /// # Errors
    /// If it holds no model that can be used.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OnnxError> {
        Self::from_proto(decode(bytes)?)
    }

    /// Checks a decoded model.
    ///
    /// # Errors
    /// If a part is missing, refused or broken.
    pub fn from_proto(proto: ModelProto) -> Result<Self, OnnxError> {
        let opset = check::check(&proto)?;
        Ok(Self { proto, opset })
    }

    /// The file's content; the same model gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// The file's content with these values as outputs too.
    ///
    /// Two encoded messages in a row are one, whose lists are those of both, so the weights are copied
    /// once and not twice.
    pub fn to_bytes_exposing<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let declare =
            |name: &str| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() };
        let output = values.into_iter().map(declare).collect();
        let graph = Some(GraphProto { output, ..Default::default() });
        let more = ModelProto { graph, ..Default::default() };
        let mut bytes = Vec::with_capacity(self.proto.encoded_len() + more.encoded_len());
        // Encoding fails only where a buffer is full, and a vector grows.
        let _ = self.proto.encode(&mut bytes);
        let _ = more.encode(&mut bytes);
        bytes
    }

    /// Writes the model, whole or not at all.
    ///
    /// # Errors
    /// If it is larger than 2 GiB or the path cannot be written.
    pub fn write(&self, path: &Path) -> Result<Digest, OnnxError> {
        let found = self.proto.encoded_len() as u64;
        if found > MAX_BYTES {
            return Err(OnnxError::TooLarge { what: "a file", found, limit: MAX_BYTES });
        }
        Ok(atomic::write(path, &self.to_bytes())?)
    }

    /// The version of the default operator set.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The graph.
    pub fn graph(&self) -> &GraphProto {
        // Checked when the model was made; an empty graph is never seen.
        const EMPTY: &GraphProto = &GraphProto {
            node: Vec::new(),
            name: None,
            initializer: Vec::new(),
            sparse_initializer: Vec::new(),
            doc_string: None,
            input: Vec::new(),
            output: Vec::new(),
            value_info: Vec::new(),
            quantization_annotation: Vec::new(),
            metadata_props: Vec::new(),
        };
        self.proto.graph.as_ref().unwrap_or(EMPTY)
    }

    /// The whole message.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// The whole message, to change it; [`from_proto`](Self::from_proto) checks it again.
    pub fn into_proto(self) -> ModelProto {
        self.proto
    }

    /// What the model says about itself.
    pub fn metadata(&self) -> BTreeMap<&str, &str> {
        self.proto.metadata_props.iter().map(|e| (e.key(), e.value())).collect()
    }

    /// Replaces what the model says about itself.
    pub fn set_metadata(&mut self, metadata: &BTreeMap<String, String>) {
        self.proto.metadata_props = metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto {
                key: Some(key.clone()),
                value: Some(value.clone()),
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::onnx::proto::attribute_proto::AttributeType;
    use crate::onnx::proto::{
        AttributeProto, FunctionProto, NodeProto, SparseTensorProto, TensorProto,
    };
    use crate::onnx::{DataType, Dim, GraphBuilder};

    fn small() -> Model {
        let mut builder = GraphBuilder::new("small", 17);
        let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(2)]).unwrap();
        let weight = builder.array("weight", &array![[1.0f32, 2.0], [3.0, 4.0]]);
        let y = builder.node("MatMul", &[&x, &weight], vec![]);
        builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(2)]);
        builder.finish().unwrap()
    }

    #[test]
    fn bytes_survive_and_are_the_same_again() {
        let model = small();
        let bytes = model.to_bytes();
        let again = Model::from_bytes(&bytes).unwrap();
        assert_eq!(again, model);
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(small().to_bytes(), bytes);
    }

    #[test]
    fn a_file_survives_and_its_faults_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        small().write(&path).unwrap();
        assert_eq!(Model::read(&path).unwrap(), small());
        std::fs::write(&path, b"<!DOCTYPE html>").unwrap();
        assert!(Model::read(&path).unwrap_err().to_string().contains("m.onnx"));
        assert!(matches!(Model::read(folder.path()), Err(OnnxError::Read { .. })));
        assert!(matches!(Model::read(&folder.path().join("none")), Err(OnnxError::Read { .. })));
    }

    #[test]
    fn no_truncation_and_no_flipped_byte_panics() {
        let bytes = small().to_bytes();
        for cut in 0..bytes.len() {
            // A cut between two fields leaves a valid message, which then lacks a part or is whole.
            let _ = Model::from_bytes(&bytes[..cut]);
        }
        assert!(Model::from_bytes(&bytes[..bytes.len() / 2]).is_err());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let _ = Model::from_bytes(&bytes);
            }
        }
    }

    fn refusal(change: impl FnOnce(&mut ModelProto)) -> String {
        let mut proto = small().into_proto();
        change(&mut proto);
        Model::from_bytes(&proto.encode_to_vec()).unwrap_err().to_string()
    }

    fn graph(proto: &mut ModelProto) -> &mut GraphProto {
        proto.graph.as_mut().unwrap()
    }

    #[test]
    fn what_hides_something_is_refused() {
        let subgraph = AttributeProto {
            name: Some("body".into()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(GraphProto::default()),
            ..AttributeProto::default()
        };
        let message = refusal(|m| graph(m).node[0].attribute.push(subgraph));
        assert!(message.contains("the subgraph of node"), "{message}");
        let message = refusal(|m| m.functions.push(FunctionProto::default()));
        assert!(message.contains("function"), "{message}");
        let message = refusal(|m| graph(m).sparse_initializer.push(SparseTensorProto::default()));
        assert!(message.contains("sparse"), "{message}");
        let message = refusal(|m| graph(m).initializer[0].data_location = Some(1));
        assert!(message.contains("another file"), "{message}");
    }

    #[test]
    fn missing_parts_are_named() {
        assert!(refusal(|m| m.graph = None).contains("no graph"));
        assert!(refusal(|m| m.opset_import.clear()).contains("operator set"));
        assert!(refusal(|m| m.opset_import[0].version = Some(-3)).contains("operator set"));
        assert!(Model::from_bytes(&[]).is_err());
    }

    #[test]
    fn a_tensor_in_an_attribute_is_checked_too() {
        let mut huge = TensorProto { dims: vec![1 << 40, 1 << 40], ..TensorProto::default() };
        huge.data_type = Some(DataType::Float as i32);
        let attribute = crate::onnx::attribute::tensor("value", huge);
        let message = refusal(|m| graph(m).node[0].attribute.push(attribute));
        assert!(message.contains("too large"), "{message}");
    }

    #[test]
    fn many_small_messages_are_refused_before_they_are_decoded() {
        let empty_nodes = [0x0a, 0].repeat(17 << 20);
        let mut bytes = Vec::new();
        prost::encoding::encode_key(7, prost::encoding::WireType::LengthDelimited, &mut bytes);
        prost::encoding::encode_varint(empty_nodes.len() as u64, &mut bytes);
        bytes.extend(empty_nodes);
        let error = Model::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, OnnxError::TooLarge { .. }), "{error}");
        assert!(refusal(|m| graph(m).node = vec![NodeProto::default(); 100_001]).contains("nodes"));
    }
}
