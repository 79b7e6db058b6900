//! Stored tensors and `ndarray` arrays.

use half::{bf16, f16};
use ndarray::{ArrayD, ArrayRef, Dimension, IxDyn};

use super::DataType;
use super::proto::TensorProto;
use super::proto::tensor_proto::DataLocation;

/// A stored tensor that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor `{name}` {problem}")]
pub struct TensorError {
    /// The tensor; empty for one without a name.
    pub name: String,
    /// What was expected and found.
    pub problem: String,
}

fn wrong(tensor: &TensorProto, problem: String) -> TensorError {
    TensorError { name: tensor.name().to_owned(), problem }
}

mod sealed {
    pub trait Sealed {}
}

/// A number that a tensor can hold.
pub trait Element: sealed::Sealed + Copy + 'static {
    /// Its ONNX type.
    const TYPE: DataType;
    /// Its bytes in a tensor's `raw_data`.
    const SIZE: usize;
    /// Reads the numbers from little-endian bytes.
    #[doc(hidden)]
    fn from_raw(bytes: &[u8]) -> Vec<Self>;
    /// Reads the numbers from the field for their type.
    #[doc(hidden)]
    fn from_typed(tensor: &TensorProto) -> Option<Vec<Self>>;
    /// Appends the number as little-endian bytes.
    #[doc(hidden)]
    fn push_raw(self, bytes: &mut Vec<u8>);
}

macro_rules! element {
    ($type:ty, $onnx:ident, $size:literal, $from:expr, $to:expr, $typed:expr) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const TYPE: DataType = DataType::$onnx;
            const SIZE: usize = $size;

            fn from_raw(bytes: &[u8]) -> Vec<Self> {
                bytes.as_chunks::<$size>().0.iter().map(|b| $from(*b)).collect()
            }

            fn from_typed(tensor: &TensorProto) -> Option<Vec<Self>> {
                $typed(tensor)
            }

            fn push_raw(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&$to(self));
            }
        }
    };
}

/// The small types share `int32_data`; a value that does not fit is no value.
fn narrow<T>(tensor: &TensorProto, convert: impl Fn(i32) -> Option<T>) -> Option<Vec<T>> {
    tensor.int32_data.iter().map(|v| convert(*v)).collect()
}

element!(f32, Float, 4, f32::from_le_bytes, f32::to_le_bytes, |t: &TensorProto| {
    Some(t.float_data.clone())
});
element!(f64, Double, 8, f64::from_le_bytes, f64::to_le_bytes, |t: &TensorProto| {
    Some(t.double_data.clone())
});
element!(f16, Float16, 2, f16::from_le_bytes, f16::to_le_bytes, |t: &TensorProto| {
    narrow(t, |v| u16::try_from(v).ok().map(f16::from_bits))
});
element!(bf16, Bfloat16, 2, bf16::from_le_bytes, bf16::to_le_bytes, |t: &TensorProto| {
    narrow(t, |v| u16::try_from(v).ok().map(bf16::from_bits))
});
element!(i64, Int64, 8, i64::from_le_bytes, i64::to_le_bytes, |t: &TensorProto| {
    Some(t.int64_data.clone())
});
element!(i32, Int32, 4, i32::from_le_bytes, i32::to_le_bytes, |t: &TensorProto| {
    Some(t.int32_data.clone())
});
element!(u8, Uint8, 1, u8::from_le_bytes, u8::to_le_bytes, |t: &TensorProto| {
    narrow(t, |v| u8::try_from(v).ok())
});
element!(i8, Int8, 1, i8::from_le_bytes, i8::to_le_bytes, |t: &TensorProto| {
    narrow(t, |v| i8::try_from(v).ok())
});
element!(bool, Bool, 1, |b: [u8; 1]| b[0] != 0, |v: bool| [u8::from(v)], |t: &TensorProto| {
    narrow(t, |v| Some(v != 0))
});

/// The shape of a stored tensor.
///
/// # Errors
/// If a dimension is negative.
pub fn shape(tensor: &TensorProto) -> Result<Vec<usize>, TensorError> {
    let dims = tensor.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<Vec<_>>>();
    dims.ok_or_else(|| wrong(tensor, format!("has the shape {:?}", tensor.dims)))
}

/// The type of a stored tensor's numbers; [`DataType::Undefined`] for one that ONNX does not have.
pub fn data_type(tensor: &TensorProto) -> DataType {
    DataType::try_from(tensor.data_type()).unwrap_or(DataType::Undefined)
}

/// The name of a stored tensor's type, for messages.
pub fn type_name(tensor: &TensorProto) -> String {
    let code = tensor.data_type.unwrap_or(0);
    DataType::try_from(code).map_or_else(|_| code.to_string(), |t| t.as_str_name().to_lowercase())
}

/// Checks that a tensor lies in the file and has the numbers that its shape asks for.
///
/// # Errors
/// If it does not.
pub fn check(tensor: &TensorProto) -> Result<(), TensorError> {
    let outside = tensor.data_location == Some(DataLocation::External as i32);
    if outside || !tensor.external_data.is_empty() {
        return Err(wrong(tensor, "lies in another file, expected all data in the model".into()));
    }
    if tensor.segment.is_some() {
        return Err(wrong(tensor, "is a segment, expected a whole tensor".into()));
    }
    let found = match &tensor.raw_data {
        Some(raw) => {
            let bytes = raw_len(tensor)?;
            if raw.len() == bytes {
                return Ok(());
            }
            let problem =
                format!("of shape {:?} has {} bytes, expected {bytes}", tensor.dims, raw.len());
            return Err(wrong(tensor, problem));
        }
        None => typed_len(tensor),
    };
    let count = count(tensor)?;
    let Some((found, per_entry)) = found else {
        return Err(wrong(tensor, format!("is of type `{}`", type_name(tensor))));
    };
    if found == count.div_ceil(per_entry) {
        return Ok(());
    }
    Err(wrong(tensor, format!("of shape {:?} has {found} numbers, expected {count}", tensor.dims)))
}

/// The bytes of a tensor's numbers in `raw_data`.
pub(super) fn raw_len(tensor: &TensorProto) -> Result<usize, TensorError> {
    let count = count(tensor)?;
    let bits = raw_bits(tensor)
        .ok_or_else(|| wrong(tensor, format!("is of type `{}`", type_name(tensor))))?;
    count.checked_mul(bits).map(|b| b.div_ceil(8)).ok_or_else(|| too_large(tensor))
}

fn too_large(tensor: &TensorProto) -> TensorError {
    wrong(tensor, format!("of shape {:?} is too large", tensor.dims))
}

fn count(tensor: &TensorProto) -> Result<usize, TensorError> {
    let product = shape(tensor)?.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    product.ok_or_else(|| too_large(tensor))
}

fn raw_bits(tensor: &TensorProto) -> Option<usize> {
    Some(match data_type(tensor) {
        DataType::Complex128 => 128,
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => 64,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 32,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Uint8
        | DataType::Int8
        | DataType::Bool
        | DataType::Float8e4m3fn
        | DataType::Float8e4m3fnuz
        | DataType::Float8e5m2
        | DataType::Float8e5m2fnuz
        | DataType::Float8e8m0 => 8,
        DataType::Uint4 | DataType::Int4 | DataType::Float4e2m1 => 4,
        _ => return None,
    })
}

/// The entries of the field for the tensor's type, and the numbers in one entry.
fn typed_len(tensor: &TensorProto) -> Option<(usize, usize)> {
    Some(match data_type(tensor) {
        DataType::Float => (tensor.float_data.len(), 1),
        DataType::Double => (tensor.double_data.len(), 1),
        DataType::Int64 => (tensor.int64_data.len(), 1),
        DataType::Uint64 | DataType::Uint32 => (tensor.uint64_data.len(), 1),
        DataType::String => (tensor.string_data.len(), 1),
        DataType::Uint4 | DataType::Int4 | DataType::Float4e2m1 => (tensor.int32_data.len(), 2),
        DataType::Int32
        | DataType::Uint16
        | DataType::Int16
        | DataType::Float16
        | DataType::Bfloat16
        | DataType::Uint8
        | DataType::Int8
        | DataType::Bool => (tensor.int32_data.len(), 1),
        _ => return None,
    })
}

/// Reads a tensor of exactly the type `T`.
///
/// # Errors
/// If it is of another type or its numbers do not fit its shape.
///
/// ```
/// use ndarray::array;
/// use rift_models::onnx::tensor;
/// let stored = tensor::store("bias", &array![0.5f32, -1.0]);
/// assert_eq!(tensor::load::<f32>(&stored)?, array![0.5, -1.0].into_dyn());
/// assert!(tensor::load::<i64>(&stored).is_err());
/// # Ok::<(), tensor::TensorError>(())
/// ```
pub fn load<T: Element>(tensor: &TensorProto) -> Result<ArrayD<T>, TensorError> {
    if tensor.data_type != Some(T::TYPE as i32) {
        let expected = T::TYPE.as_str_name().to_lowercase();
        let problem = format!("is of type `{}`, expected `{expected}`", type_name(tensor));
        return Err(wrong(tensor, problem));
    }
    check(tensor)?;
    let values = match &tensor.raw_data {
        Some(raw) => T::from_raw(raw),
        None => T::from_typed(tensor)
            .ok_or_else(|| wrong(tensor, format!("holds what is no `{}`", type_name(tensor))))?,
    };
    ArrayD::from_shape_vec(IxDyn(&shape(tensor)?), values).map_err(|_| too_large(tensor))
}

/// Reads a tensor of any floating-point type as `f32`.
///
/// # Errors
/// As [`load`].
pub fn load_floats(tensor: &TensorProto) -> Result<ArrayD<f32>, TensorError> {
    match data_type(tensor) {
        DataType::Float16 => Ok(load::<f16>(tensor)?.mapv(f16::to_f32)),
        DataType::Bfloat16 => Ok(load::<bf16>(tensor)?.mapv(bf16::to_f32)),
        DataType::Double => Ok(load::<f64>(tensor)?.mapv(|v| v as f32)),
        _ => load::<f32>(tensor),
    }
}

/// Reads a tensor of whole numbers, as shapes, axes and pads are stored.
///
/// # Errors
/// As [`load`].
pub fn load_integers(tensor: &TensorProto) -> Result<Vec<i64>, TensorError> {
    match data_type(tensor) {
        DataType::Int32 => Ok(load::<i32>(tensor)?.iter().map(|v| i64::from(*v)).collect()),
        _ => Ok(load::<i64>(tensor)?.iter().copied().collect()),
    }
}

/// Stores an array under `name`, as raw bytes in standard order.
pub fn store<T: Element, D: Dimension>(name: &str, array: &ArrayRef<T, D>) -> TensorProto {
    let mut raw = Vec::with_capacity(array.len() * T::SIZE);
    // An array knows better how to lay itself out than an iterator over it.
    for value in array.as_standard_layout().as_slice().unwrap_or_default() {
        value.push_raw(&mut raw);
    }
    TensorProto {
        name: Some(name.to_owned()),
        dims: array.shape().iter().map(|d| *d as i64).collect(),
        data_type: Some(T::TYPE as i32),
        raw_data: Some(raw),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn survives<T: Element + PartialEq + std::fmt::Debug>(values: [T; 2]) {
        let array = ArrayD::from_shape_vec(IxDyn(&[2, 1]), values.to_vec()).unwrap();
        assert_eq!(load::<T>(&store("t", &array)).unwrap(), array);
    }

    #[test]
    fn every_type_survives() {
        survives([1.5f32, f32::MIN_POSITIVE]);
        survives([1.5f64, -0.1]);
        survives([f16::from_f32(0.1), f16::MAX]);
        survives([bf16::from_f32(0.1), bf16::MIN]);
        survives([i64::MIN, 3]);
        survives([i32::MIN, 3]);
        survives([0u8, 255]);
        survives([-128i8, 127]);
        survives([true, false]);
    }

    #[test]
    fn typed_fields_are_read() {
        let base = |data_type: DataType| TensorProto {
            dims: vec![2],
            data_type: Some(data_type as i32),
            ..TensorProto::default()
        };
        let halves = TensorProto { int32_data: vec![0x3c00, 0xc000], ..base(DataType::Float16) };
        assert_eq!(load_floats(&halves).unwrap(), array![1.0, -2.0].into_dyn());
        let brains = TensorProto { int32_data: vec![0x3f80, 0xc000], ..base(DataType::Bfloat16) };
        assert_eq!(load_floats(&brains).unwrap(), array![1.0, -2.0].into_dyn());
        let doubles = TensorProto { double_data: vec![0.5, 2.0], ..base(DataType::Double) };
        assert_eq!(load_floats(&doubles).unwrap(), array![0.5, 2.0].into_dyn());
        let bytes = TensorProto { int32_data: vec![-128, 127], ..base(DataType::Int8) };
        assert_eq!(load::<i8>(&bytes).unwrap(), array![-128, 127].into_dyn());
        let flags = TensorProto { int32_data: vec![0, 1], ..base(DataType::Bool) };
        assert_eq!(load::<bool>(&flags).unwrap(), array![false, true].into_dyn());
        let shape = TensorProto { int32_data: vec![1, -1], ..base(DataType::Int32) };
        assert_eq!(load_integers(&shape).unwrap(), [1, -1]);
        let axes = TensorProto { int64_data: vec![2, 3], ..base(DataType::Int64) };
        assert_eq!(load_integers(&axes).unwrap(), [2, 3]);
        let out_of_range = TensorProto { int32_data: vec![0, 256], ..base(DataType::Uint8) };
        assert!(load::<u8>(&out_of_range).unwrap_err().to_string().contains("uint8"));
    }

    #[test]
    fn hostile_tensors_are_refused() {
        let good = store("w", &array![[1.0f32, 2.0]]);
        let cases: [(&str, TensorProto); 6] = [
            ("8 bytes, expected 12", TensorProto { dims: vec![1, 3], ..good.clone() }),
            ("shape [-1]", TensorProto { dims: vec![-1], ..good.clone() }),
            ("too large", TensorProto { dims: vec![i64::MAX, i64::MAX], ..good.clone() }),
            ("too large", TensorProto { dims: vec![i64::MAX, 2], ..good.clone() }),
            ("another file", TensorProto { data_location: Some(1), ..good.clone() }),
            ("type `77`", TensorProto { data_type: Some(77), ..good.clone() }),
        ];
        for (expected, tensor) in cases {
            let message = check(&tensor).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("`w`"), "{message}");
        }
        let empty = TensorProto { raw_data: None, ..good };
        assert!(check(&empty).unwrap_err().to_string().contains("0 numbers, expected 2"));
    }

    #[test]
    fn an_empty_dimension_may_not_hide_an_overflow() {
        let tensor = TensorProto {
            dims: vec![i64::MAX, i64::MAX, 0],
            data_type: Some(DataType::Float as i32),
            ..TensorProto::default()
        };
        assert!(check(&tensor).is_err());
    }
}
