//! The zip format of `torch.save` (PyTorch 1.6 and later): `NAME/data.pkl` and `NAME/data/KEY`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ndarray::{ArrayD, Dimension, IxDyn};
use rift_models::artifact::tensors::{TensorMap, half_to_f32};
use zip::ZipArchive;
use zip::result::ZipError;

use super::ImportError;
use super::pickle::{self, PickleError};
use super::state_dict::{NoState, StateDict};
use super::value::{Dtype, Storage, View};

/// The pickle of a network has some hundred bytes a tensor; this is room for a hundred thousand.
const MAX_PICKLE: u64 = 64 << 20;
/// All tensors together: twice the largest network on RobustBench, 2 GiB as `f32`.
const MAX_NUMBERS: usize = 1 << 29;
/// How the formats before 1.6 begin: a pickle of the number 0x1950a86a20f9469cfc6c.
const LEGACY: [u8; 15] = *b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// An open archive.
pub(super) struct Archive {
    path: String,
    zip: ZipArchive<File>,
    /// What comes before `data.pkl`, with the slash.
    root: String,
}

impl Archive {
    /// Opens `path` and finds its pickle.
    ///
    /// # Errors
    /// If the file is not of the zip format; the older format is named as such.
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let name = path.display().to_string();
        let read = |source| ImportError::Read { path: name.clone(), source };
        let mut file = File::open(path).map_err(read)?;
        let mut start = Vec::new();
        file.by_ref().take(LEGACY.len() as u64).read_to_end(&mut start).map_err(read)?;
        if start == LEGACY {
            return Err(ImportError::Legacy { path: name });
        }
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let zip = ZipArchive::new(file)
            .map_err(|source| ImportError::Zip { path: name.clone(), source })?;
        if zip.file_names().any(|entry| entry.ends_with("/constants.pkl")) {
            return Err(ImportError::TorchScript { path: name });
        }
        let root = zip.file_names().find_map(|entry| {
            entry.strip_suffix("data.pkl").filter(|r| r.ends_with('/')).map(str::to_owned)
        });
        match root {
            Some(root) => Ok(Self { path: name, zip, root }),
            None => Err(ImportError::NoPickle { path: name }),
        }
    }

    /// The state dict that the pickle describes; no tensor is read yet.
    ///
    /// # Errors
    /// If the pickle holds anything else, or no tensors.
    pub(super) fn state_dict(&mut self) -> Result<StateDict, ImportError> {
        if self.has("byteorder") && self.entry("byteorder", 16)? != b"little" {
            return Err(ImportError::ByteOrder { path: self.path.clone() });
        }
        let bytes = self.entry("data.pkl", MAX_PICKLE)?;
        let (heap, root) = pickle::interpret(&bytes)
            .map_err(|source| ImportError::Pickle { path: self.path.clone(), source })?;
        heap.state_dict(&root).map_err(|none| {
            let path = self.path.clone();
            match none {
                NoState::None(keys) => ImportError::NoTensors { path, keys },
                NoState::Several(keys) => ImportError::SeveralStates { path, keys: quoted(&keys) },
                NoState::Foreign(name) => {
                    ImportError::Pickle { path, source: PickleError::Global { name } }
                }
            }
        })
    }

    /// Reads the tensors behind `views`, each storage once.
    ///
    /// # Errors
    /// If a tensor reaches beyond its storage, a storage is not as long as it says, or the numbers
    /// are no floating-point numbers.
    pub(super) fn tensors(&mut self, views: Vec<(String, View)>) -> Result<TensorMap, ImportError> {
        let mut by_storage: BTreeMap<String, Vec<(String, View)>> = BTreeMap::new();
        let mut numbers = 0_usize;
        for (name, view) in views {
            let len = length(&view.shape).and_then(|len| numbers.checked_add(len));
            numbers = len
                .filter(|total| *total <= MAX_NUMBERS)
                .ok_or_else(|| self.refuse(&name, "too many numbers for a network"))?;
            by_storage.entry(view.storage.key.to_string()).or_default().push((name, view));
        }
        let mut tensors = TensorMap::new();
        for views in by_storage.into_values() {
            let Some((first, View { storage, .. })) = views.first() else { continue };
            let values = self.storage(first, storage)?;
            for (name, view) in &views {
                if view.storage != *storage {
                    return Err(self.refuse(name, "its storage has two descriptions"));
                }
                let tensor = gather(view, &values).map_err(|reason| self.refuse(name, reason))?;
                tensors.insert(name.clone(), tensor);
            }
        }
        Ok(tensors)
    }

    fn refuse(&self, name: &str, reason: &'static str) -> ImportError {
        ImportError::Tensor { path: self.path.clone(), name: name.to_owned(), reason }
    }

    fn storage(&mut self, tensor: &str, storage: &Storage) -> Result<Vec<f32>, ImportError> {
        let size = storage.len.checked_mul(storage.dtype.bytes());
        let size = size.ok_or_else(|| self.refuse(tensor, "its storage is impossibly long"))?;
        let bytes = self.entry(&format!("data/{}", storage.key), size as u64)?;
        if bytes.len() != size {
            return Err(self.refuse(tensor, "its storage is shorter than it says"));
        }
        let numbers = decode(storage.dtype, &bytes)
            .ok_or_else(|| self.refuse(tensor, "its numbers are whole, expected floating point"))?;
        if numbers.iter().all(|number| number.is_finite()) {
            Ok(numbers)
        } else {
            Err(self.refuse(tensor, "it holds values that are not finite"))
        }
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}{name}", self.root)).is_some()
    }

    /// The bytes of an entry, which `torch.save` never compresses: so no entry is larger than the
    /// file.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
        let name = format!("{}{name}", self.root);
        let path = self.path.clone();
        let mut entry = match self.zip.by_name(&name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Err(ImportError::Entry { path, name }),
            Err(source) => return Err(ImportError::Zip { path, source }),
        };
        if entry.compression() != zip::CompressionMethod::Stored {
            return Err(ImportError::Compressed { path, name });
        }
        if entry.size() > limit {
            let found = entry.size();
            return Err(ImportError::Size { path, name, limit, found });
        }
        let mut bytes = Vec::new();
        entry
            .by_ref()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| ImportError::Read { path, source })?;
        Ok(bytes)
    }
}

fn quoted(keys: &[String]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// The numbers of a tensor; a side of 0 counts as 1, so that the bound on it holds for every side.
fn length(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |length, side| length.checked_mul((*side).max(1)))
}

/// The numbers of a storage as `f32`, or `None` where they are whole.
fn decode(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let two = |f: fn(u16) -> f32| {
        bytes.as_chunks::<2>().0.iter().map(|b| f(u16::from_le_bytes(*b))).collect()
    };
    Some(match dtype {
        Dtype::F64 => {
            bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
        }
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => two(half_to_f32),
        Dtype::Bf16 => two(|bits| f32::from_bits(u32::from(bits) << 16)),
        Dtype::Integer { .. } => return None,
    })
}

/// The tensor that `view` sees in `storage`, in row-major order.
fn gather(view: &View, storage: &[f32]) -> Result<ArrayD<f32>, &'static str> {
    const OUTSIDE: &str = "it reaches beyond its storage";
    if view.shape.len() != view.strides.len() {
        return Err("it has more sizes than strides, or fewer");
    }
    if view.shape.contains(&0) {
        return Ok(ArrayD::zeros(IxDyn(&view.shape)));
    }
    let last = view
        .shape
        .iter()
        .zip(&view.strides)
        .try_fold(view.offset, |last, (side, stride)| {
            last.checked_add((side - 1).checked_mul(*stride)?)
        })
        .ok_or(OUTSIDE)?;
    if last >= storage.len() {
        return Err(OUTSIDE);
    }
    Ok(ArrayD::from_shape_fn(IxDyn(&view.shape), |index| {
        let steps = index.as_array_view();
        let at: usize = steps.iter().zip(&view.strides).map(|(i, stride)| i * stride).sum();
        storage[view.offset + at]
    }))
}
