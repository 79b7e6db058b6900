//! A node's settings, read by type, with failures blamed on the node.

use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, NodeProto, TensorProto};

/// An attribute that is not what its operator needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute `{attribute}` of node `{node}` ({op}): expected {expected}, found {found}")]
pub struct AttributeError {
    /// The node, by its name or its first output.
    pub node: String,
    /// The node's operator.
    pub op: String,
    /// The attribute.
    pub attribute: String,
    /// What the operator needs.
    pub expected: String,
    /// What the node has.
    pub found: String,
}

/// What to call a node in messages: its name or, where it has none, its first output.
pub fn node_label(node: &NodeProto) -> &str {
    match (node.name(), node.output.first()) {
        ("", Some(output)) => output,
        (name, _) => name,
    }
}

/// Typed access to a node's attributes.
///
/// ```
/// use rift_models::onnx::{Attributes, attribute, proto::NodeProto};
/// let node = NodeProto { attribute: vec![attribute::int("group", 4)], ..Default::default() };
/// let attributes = Attributes::of(&node);
/// assert_eq!(attributes.int("group")?, Some(4));
/// assert_eq!(attributes.ints("pads")?, None);
/// assert!(attributes.float("group").is_err());
/// # Ok::<(), rift_models::onnx::AttributeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'n> {
    node: &'n NodeProto,
}

impl<'n> Attributes<'n> {
    /// The attributes of `node`.
    pub fn of(node: &'n NodeProto) -> Self {
        Self { node }
    }

    fn typed(
        self,
        name: &str,
        wanted: AttributeType,
    ) -> Result<Option<&'n AttributeProto>, AttributeError> {
        let Some(attribute) = self.node.attribute.iter().find(|a| a.name() == name) else {
            return Ok(None);
        };
        let found = attribute.r#type();
        if found == wanted {
            return Ok(Some(attribute));
        }
        let text = |t: AttributeType| t.as_str_name().to_lowercase();
        Err(self.wrong(name, &text(wanted), &text(found)))
    }

    /// The error that blames attribute `name` of this node.
    pub fn wrong(self, name: &str, expected: &str, found: &str) -> AttributeError {
        AttributeError {
            node: node_label(self.node).to_owned(),
            op: self.node.op_type().to_owned(),
            attribute: name.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }

    /// A whole number, if the node has it.
    pub fn int(self, name: &str) -> Result<Option<i64>, AttributeError> {
        Ok(self.typed(name, AttributeType::Int)?.map(AttributeProto::i))
    }

    /// A number, if the node has it.
    pub fn float(self, name: &str) -> Result<Option<f32>, AttributeError> {
        Ok(self.typed(name, AttributeType::Float)?.map(AttributeProto::f))
    }

    /// Whole numbers, if the node has them.
    pub fn ints(self, name: &str) -> Result<Option<&'n [i64]>, AttributeError> {
        Ok(self.typed(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    /// Numbers, if the node has them.
    pub fn floats(self, name: &str) -> Result<Option<&'n [f32]>, AttributeError> {
        Ok(self.typed(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    /// A text, if the node has it.
    pub fn string(self, name: &str) -> Result<Option<&'n str>, AttributeError> {
        let Some(attribute) = self.typed(name, AttributeType::String)? else { return Ok(None) };
        match std::str::from_utf8(attribute.s()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.wrong(name, "UTF-8 text", "other bytes")),
        }
    }

    /// A tensor, if the node has it.
    pub fn tensor(self, name: &str) -> Result<Option<&'n TensorProto>, AttributeError> {
        Ok(self.typed(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }
}

fn new(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    }
}

/// An attribute that is a whole number.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..new(name, AttributeType::Int) }
}

/// An attribute that is a number.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..new(name, AttributeType::Float) }
}

/// An attribute that is a row of whole numbers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..new(name, AttributeType::Ints) }
}

/// An attribute that is a text.
pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..new(name, AttributeType::String) }
}

/// An attribute that is a tensor.
pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..new(name, AttributeType::Tensor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_names_the_node_and_the_operator() {
        let node = NodeProto {
            op_type: Some("Conv".into()),
            output: vec!["y".into()],
            attribute: vec![string("auto_pad", "VALID"), ints("strides", &[1, 2])],
            ..NodeProto::default()
        };
        let attributes = Attributes::of(&node);
        assert_eq!(attributes.string("auto_pad").unwrap(), Some("VALID"));
        assert_eq!(attributes.ints("strides").unwrap(), Some(&[1, 2][..]));
        let message = attributes.int("strides").unwrap_err().to_string();
        assert_eq!(message, "attribute `strides` of node `y` (Conv): expected int, found ints");
    }
}
