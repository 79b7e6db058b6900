//! What a graph declares about a value.

use std::fmt;

use super::DataType;
use super::proto::tensor_shape_proto::Dimension;
use super::proto::tensor_shape_proto::dimension::Value as DimValue;
use super::proto::type_proto::{self, Value as TypeValue};
use super::proto::{TensorShapeProto, TypeProto, ValueInfoProto};

/// One dimension of a declared shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this long.
    Fixed(usize),
    /// Known when the model runs; equal names are equal lengths.
    Free(Option<String>),
}

impl Dim {
    /// A free dimension with a name.
    pub fn free(name: &str) -> Self {
        Self::Free(Some(name.to_owned()))
    }

    /// The length, if it is fixed.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(length) => Some(*length),
            Self::Free(_) => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Free(Some(name)) => f.write_str(name),
            Self::Free(None) => f.write_str("?"),
        }
    }
}

/// The declared type of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// What it holds.
    pub element: DataType,
    /// Its dimensions; `None` if not even their number is declared.
    pub dims: Option<Vec<Dim>>,
}

impl TensorType {
    /// The type that `info` declares; `None` if it declares none or no tensor.
    pub fn of(info: &ValueInfoProto) -> Option<Self> {
        let Some(TypeValue::TensorType(tensor)) = info.r#type.as_ref()?.value.as_ref() else {
            return None;
        };
        let dims = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect());
        let element = DataType::try_from(tensor.elem_type()).unwrap_or(DataType::Undefined);
        Some(Self { element, dims })
    }

    /// The declaration of a value of this type.
    pub fn declare(&self, name: &str) -> ValueInfoProto {
        let shape = self.dims.as_ref().map(|dims| TensorShapeProto {
            dim: dims.iter().map(|d| Dimension { value: proto_dim(d), denotation: None }).collect(),
        });
        let tensor = type_proto::Tensor { elem_type: Some(self.element as i32), shape };
        let r#type =
            TypeProto { value: Some(TypeValue::TensorType(tensor)), ..TypeProto::default() };
        ValueInfoProto {
            name: Some(name.to_owned()),
            r#type: Some(r#type),
            ..ValueInfoProto::default()
        }
    }
}

fn dim(dimension: &Dimension) -> Dim {
    match &dimension.value {
        // A negative length is how some exporters write an unknown one.
        Some(DimValue::DimValue(length)) => {
            usize::try_from(*length).map_or(Dim::Free(None), Dim::Fixed)
        }
        Some(DimValue::DimParam(name)) if !name.is_empty() => Dim::Free(Some(name.clone())),
        _ => Dim::Free(None),
    }
}

fn proto_dim(dim: &Dim) -> Option<DimValue> {
    match dim {
        Dim::Fixed(length) => Some(DimValue::DimValue(*length as i64)),
        Dim::Free(Some(name)) => Some(DimValue::DimParam(name.clone())),
        Dim::Free(None) => None,
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = self.element.as_str_name().to_lowercase();
        match &self.dims {
            None => write!(f, "{element}[…]"),
            Some(dims) => {
                let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
                write!(f, "{element}[{}]", dims.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_reads_back() {
        let dims = vec![Dim::free("N"), Dim::Fixed(3), Dim::Free(None)];
        let declared = TensorType { element: DataType::Float, dims: Some(dims) };
        assert_eq!(TensorType::of(&declared.declare("x")), Some(declared.clone()));
        assert_eq!(declared.to_string(), "float[N, 3, ?]");
        assert_eq!(TensorType::of(&ValueInfoProto::default()), None);
    }
}
