//! Named tensors in a safetensors file, read with suspicion.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::Digest;
use super::atomic::{self, AtomicError};

/// Tensors by name.
pub type TensorMap = BTreeMap<String, ArrayD<f32>>;

/// A safetensors file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is truncated, hostile or something else.
    #[error("`{path}` is not a valid safetensors file")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor is not of numbers that can be read as `f32`.
    #[error("tensor `{name}` in `{path}` is of type {found}, expected one of F32, F16, BF16, F64")]
    Dtype {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor holds values that are not finite.
    #[error("tensor `{name}` in `{path}` holds values that are not finite")]
    NotFinite {
        /// The file.
        path: String,
        /// The tensor.
        name: String,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// A safetensors file in memory: its tensors, its metadata and its digest.
#[derive(Clone, Debug)]
pub struct TensorFile {
    /// The tensors, as `f32`.
    pub tensors: TensorMap,
    /// The header's `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// The digest of the whole file.
    pub digest: Digest,
}

/// Reads every tensor of a safetensors file as `f32`.
///
/// # Errors
/// If the file cannot be read, its header does not cover it exactly, or a tensor is not of finite
/// numbers.
pub fn read(path: &Path) -> Result<TensorFile, TensorFileError> {
    Ok(read_where(path, |_| true)?.0)
}

/// Reads the tensors whose name `keep` accepts, and names the others: published files hold
/// counters and the like, which are not of floating-point numbers.
///
/// # Errors
/// As [`read`], of the tensors that are kept.
pub fn read_where(
    path: &Path,
    keep: impl Fn(&str) -> bool,
) -> Result<(TensorFile, Vec<String>), TensorFileError> {
    let bytes = std::fs::read(path).map_err(|source| {
        let path = path.display().to_string();
        TensorFileError::Read { path, source }
    })?;
    parse_where((path, &bytes), keep)
}

/// As [`read`], of a file's content; `path` names it in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<TensorFile, TensorFileError> {
    Ok(parse_where((path, bytes), |_| true)?.0)
}

fn parse_where(
    (path, bytes): (&Path, &[u8]),
    keep: impl Fn(&str) -> bool,
) -> Result<(TensorFile, Vec<String>), TensorFileError> {
    let name = || path.display().to_string();
    let format = |source| TensorFileError::Format { path: name(), source };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let file = SafeTensors::deserialize(bytes).map_err(format)?;
    let mut tensors = BTreeMap::new();
    let mut others = Vec::new();
    for (tensor, view) in file.iter() {
        if !keep(tensor) {
            others.push(tensor.to_owned());
            continue;
        }
        let values = to_f32(&view).ok_or_else(|| TensorFileError::Dtype {
            path: name(),
            name: tensor.to_owned(),
            found: format!("{:?}", view.dtype()),
        })?;
        if !values.iter().all(|v| v.is_finite()) {
            return Err(TensorFileError::NotFinite { path: name(), name: tensor.to_owned() });
        }
        // The crate has checked that the shape covers the bytes.
        let array = ArrayD::from_shape_vec(IxDyn(view.shape()), values);
        if let Ok(array) = array {
            tensors.insert(tensor.to_owned(), array);
        }
    }
    others.sort();
    Ok((TensorFile { tensors, metadata, digest: Digest::of_bytes(bytes) }, others))
}

fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    let two = |f: fn(u16) -> f32| {
        data.as_chunks::<2>().0.iter().map(|b| f(u16::from_le_bytes(*b))).collect()
    };
    Some(match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => {
            data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
        }
        Dtype::BF16 => two(|bits| f32::from_bits(u32::from(bits) << 16)),
        Dtype::F16 => two(half_to_f32),
        _ => return None,
    })
}

/// IEEE 754 binary16 to binary32, exactly.
pub fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from((bits >> 10) & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// Writes tensors and metadata; the same content gives the same bytes.
///
/// # Errors
/// If the disk is full or the path cannot be written.
pub fn write(
    path: &Path,
    tensors: &TensorMap,
    metadata: BTreeMap<String, String>,
) -> Result<Digest, TensorFileError> {
    let bytes: BTreeMap<&String, Vec<u8>> = tensors
        .iter()
        .map(|(name, tensor)| (name, tensor.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let format = |source| TensorFileError::Format { path: path.display().to_string(), source };
    let views = tensors
        .iter()
        .map(|(name, tensor)| {
            let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), &bytes[name]);
            Ok((name.as_str(), view.map_err(format)?))
        })
        .collect::<Result<Vec<_>, TensorFileError>>()?;
    // The header's map is a hash map; one entry keeps its order, and so the bytes, the same.
    let metadata = metadata.into_iter().collect::<HashMap<_, _>>();
    let file = safetensors::serialize(views, Some(metadata)).map_err(format)?;
    Ok(atomic::write(path, &file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0)]
        {
            assert_eq!(half_to_f32(bits), value);
        }
        assert!(half_to_f32(0x7c01).is_nan());
    }

    #[test]
    fn reads_what_is_asked_for_beside_counters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let [counter, weight] = [7_u64.to_le_bytes().to_vec(), 2.5_f32.to_le_bytes().to_vec()];
        let views = [
            ("bn.counter", TensorView::new(Dtype::I64, vec![], &counter).unwrap()),
            ("bn.weight", TensorView::new(Dtype::F32, vec![1], &weight).unwrap()),
        ];
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        assert!(matches!(read(&path), Err(TensorFileError::Dtype { .. })));
        let (file, others) = read_where(&path, |name| name != "bn.counter").unwrap();
        assert_eq!((others, file.tensors["bn.weight"][[0]]), (vec!["bn.counter".to_owned()], 2.5));
    }

    #[test]
    fn refuses_truncated_and_hostile_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        let tensors = TensorMap::from([("a".to_owned(), ArrayD::zeros(IxDyn(&[2, 3])))]);
        write(&path, &tensors, BTreeMap::new()).unwrap();
        let good = std::fs::read(&path).unwrap();
        for cut in [0, 4, 8, 20, good.len() - 1] {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(matches!(read(&path), Err(TensorFileError::Format { .. })), "cut at {cut}");
        }
        // A header that claims 2^60 bytes must not be allocated.
        let mut huge = (1u64 << 60).to_le_bytes().to_vec();
        huge.extend_from_slice(b"{}");
        std::fs::write(&path, huge).unwrap();
        assert!(matches!(read(&path), Err(TensorFileError::Format { .. })));
        let nan = TensorMap::from([("a".to_owned(), ArrayD::from_elem(IxDyn(&[1]), f32::NAN))]);
        write(&path, &nan, BTreeMap::new()).unwrap();
        assert!(matches!(read(&path), Err(TensorFileError::NotFinite { .. })));
    }
}
