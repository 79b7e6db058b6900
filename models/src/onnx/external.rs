//! Numbers that a model keeps in a file beside it, as PyTorch's exporter writes them.
//!
//! They are read once, into the model: what is looked at, measured, digested and opened afterwards
//! is one piece.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use prost::Message;

use super::proto::tensor_proto::DataLocation;
use super::proto::{ModelProto, TensorProto};
use super::{MAX_BYTES, OnnxError, TensorError, decode, tensor, wire};

/// The content of the model at `path`, `bytes`, with the numbers that it keeps beside itself.
///
/// The file beside it must have the model's name and more, `m.onnx.data` or `m.onnx_data` for
/// `m.onnx`, so that no model reaches for what is not its own.
///
/// # Errors
/// If the numbers lie elsewhere, are not there or not as many as their shape says, or the model
/// would be larger than `limit`, at most 2 GiB.
pub fn with_external_data(bytes: Vec<u8>, path: &Path, limit: u64) -> Result<Vec<u8>, OnnxError> {
    if !wire::has_external_data(&bytes) {
        return Ok(bytes);
    }
    let mut proto = decode(&bytes)?;
    drop(bytes);
    let (used, limit) = (proto.encoded_len() as u64, limit.min(MAX_BYTES));
    let mut beside = Beside { path, files: BTreeMap::new(), used, limit };
    tensors(&mut proto).try_for_each(|tensor| beside.fold(tensor))?;
    let found = proto.encoded_len() as u64;
    if found > limit {
        return Err(too_large(found, limit));
    }
    Ok(proto.encode_to_vec())
}

fn tensors(proto: &mut ModelProto) -> impl Iterator<Item = &mut TensorProto> {
    proto.graph.iter_mut().flat_map(|graph| {
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        let held = attributes.flat_map(|a| a.t.iter_mut().chain(&mut a.tensors));
        graph.initializer.iter_mut().chain(held)
    })
}

fn too_large(found: u64, limit: u64) -> OnnxError {
    let what = "a model with the data beside it";
    OnnxError::TooLarge { what, found, limit }
}

/// The files beside the model at `path`.
struct Beside<'p> {
    path: &'p Path,
    files: BTreeMap<String, (File, u64)>,
    /// The bytes of the model with what has been read.
    used: u64,
    /// How many they may become.
    limit: u64,
}

impl Beside<'_> {
    /// Moves a tensor's numbers into it, if they lie in another file.
    fn fold(&mut self, tensor: &mut TensorProto) -> Result<(), OnnxError> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|entry| entry.key() == key);
            found.map(|entry| entry.value().to_owned())
        };
        let number = |key: &str| {
            let parse = |text: String| {
                text.parse::<u64>().map_err(|_| elsewhere(tensor, &format!("at {key} `{text}`")))
            };
            entry(key).map(parse).transpose()
        };
        let location = entry("location").unwrap_or_default();
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let expected = tensor::raw_len(tensor)? as u64;
        if let Some(length) = length.filter(|length| *length != expected) {
            let found = format!("where it has {length} bytes, expected {expected}");
            return Err(elsewhere(tensor, &found).into());
        }
        let name = self.name(&location).map_err(|found| elsewhere(tensor, &found))?;
        // Several tensors may lie at one place, so it is not the file's size that bounds the sum.
        self.used = self.used.saturating_add(expected);
        if self.used > self.limit {
            return Err(too_large(self.used, self.limit));
        }
        let raw = self
            .read(name, (offset, expected))
            .map_err(|reason| elsewhere(tensor, &format!("`{name}`: {reason}")))?;
        tensor.raw_data = Some(raw);
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    }

    /// The name of the file beside the model that `location` means, or what is wrong with it.
    fn name<'l>(&self, location: &'l str) -> Result<&'l str, String> {
        let own = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = location.strip_prefix("./").unwrap_or(location);
        let is_plain = !name.contains(['/', '\\']) && name.len() > own.len();
        if is_plain && !own.is_empty() && name.starts_with(own) {
            return Ok(name);
        }
        Err(format!(
            "`{location}`, expected it in the model or beside it in a file of its name and more, \
             `{own}.data` (`onnx.save` writes a model in one file)"
        ))
    }

    /// So many bytes from an offset on of the file of this name.
    fn read(&mut self, name: &str, (offset, length): (u64, u64)) -> io::Result<Vec<u8>> {
        if !self.files.contains_key(name) {
            self.files.insert(name.to_owned(), open(self.path, name)?);
        }
        let (file, size) = self.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        if offset.checked_add(length).is_none_or(|end| end > *size) {
            let found = format!("it ends at {size}, expected {length} bytes from {offset} on");
            return Err(io::Error::other(found));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length as usize)?;
        file.seek(SeekFrom::Start(offset))?;
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn elsewhere(tensor: &TensorProto, found: &str) -> TensorError {
    let problem = format!("lies in another file, {found}");
    TensorError { name: tensor.name().to_owned(), problem }
}

/// Opens the file of this name beside the model at `path`, with its size.
fn open(path: &Path, name: &str) -> io::Result<(File, u64)> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let found = folder.join(name).canonicalize()?;
    // A store of files by their content has links to them, those of one model in one folder.
    let real: Option<PathBuf> = path.canonicalize()?.parent().map(Path::to_owned);
    let folders = [Some(folder.canonicalize()?), real];
    if !folders.iter().flatten().any(|folder| found.starts_with(folder)) {
        return Err(io::Error::other("it is a link to elsewhere"));
    }
    // To open a pipe is to wait for whoever writes into it.
    let metadata = found.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    Ok((File::open(found)?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ndarray::array;
    use tempfile::TempDir;

    use super::*;
    use crate::onnx::proto::StringStringEntryProto;
    use crate::onnx::{DataType, Dim, GraphBuilder, Model, attribute};

    type Change = Box<dyn FnOnce(&mut TensorProto)>;

    fn whole() -> Model {
        let mut builder = GraphBuilder::new("small", 17);
        let x = builder.input("x", DataType::Float, &[Dim::free("N"), Dim::Fixed(2)]).unwrap();
        let weight = builder.array("weight", &array![[1.0f32, 2.0], [3.0, 4.0]]);
        let y = builder.node("MatMul", &[&x, &weight], vec![]);
        let value = tensor::store("", &array![5.0f32, 6.0]);
        let bias = builder.node("Constant", &[], vec![attribute::tensor("value", value)]);
        let y = builder.node("Add", &[&y, &bias], vec![]);
        builder.output(&y, DataType::Float, &[Dim::free("N"), Dim::Fixed(2)]);
        builder.finish().unwrap()
    }

    /// The model with its numbers in `location`, and those numbers, each after four other bytes.
    fn split(location: &str) -> (ModelProto, Vec<u8>) {
        let mut proto = whole().into_proto();
        let mut data = Vec::new();
        for tensor in tensors(&mut proto) {
            data.extend([0xff; 4]);
            let raw = tensor.raw_data.take().unwrap();
            let entry = |(key, value): (&str, String)| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value),
            };
            let entries = [
                ("location", location.to_owned()),
                ("offset", data.len().to_string()),
                ("length", raw.len().to_string()),
            ];
            tensor.external_data = entries.into_iter().map(entry).collect();
            tensor.data_location = Some(DataLocation::External as i32);
            data.extend(raw);
        }
        (proto, data)
    }

    /// What comes of a model changed by `change`, with its numbers in `location` and the file there.
    fn folded(
        folder: &TempDir,
        location: &str,
        change: impl FnOnce(&mut TensorProto),
    ) -> Result<Vec<u8>, String> {
        let (mut proto, data) = split(location);
        change(tensors(&mut proto).next().unwrap());
        let path = folder.path().join("m.onnx");
        fs::write(&path, proto.encode_to_vec()).unwrap();
        let target = folder.path().join(location);
        if !target.exists() && target.parent().is_some_and(Path::exists) {
            fs::write(target, data).unwrap();
        }
        with_external_data(fs::read(&path).unwrap(), &path, MAX_BYTES)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_lies_beside_a_model_becomes_part_of_it() {
        for location in ["m.onnx.data", "./m.onnx_data"] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(folded(&folder, location, |_| {}).unwrap(), whole().to_bytes());
        }
        let bytes = whole().to_bytes();
        assert_eq!(with_external_data(bytes.clone(), Path::new("none"), MAX_BYTES).unwrap(), bytes);
    }

    #[test]
    fn what_lies_elsewhere_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir_in(outer.path()).unwrap();
        fs::create_dir(folder.path().join("m.onnx.d")).unwrap();
        let absolute = folder.path().join("m.onnx.data").display().to_string();
        let places = ["../m.onnx.data", "weights.bin", "m.onnx", "m.onnx.d/w", "", &absolute];
        for location in places {
            let message = folded(&folder, location, |_| {}).unwrap_err();
            assert!(message.starts_with("tensor `weight` lies in another file, `"), "{message}");
            assert!(message.contains("expected it in the model"), "{message}");
        }
        let message = folded(&folder, "m.onnx.d", |_| {}).unwrap_err();
        assert!(message.contains("it is no plain file"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_nowhere_else() {
        use std::os::unix::fs::symlink;
        let outer = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir_in(outer.path()).unwrap();
        let (proto, data) = split("m.onnx.data");
        fs::write(outer.path().join("secret"), &data).unwrap();
        symlink(outer.path().join("secret"), folder.path().join("m.onnx.data")).unwrap();
        let message = folded(&folder, "m.onnx.data", |_| {}).unwrap_err();
        assert!(message.contains("it is a link to elsewhere"), "{message}");
        // Both are links to where files are kept by their content.
        let store = tempfile::tempdir_in(outer.path()).unwrap();
        let names = tempfile::tempdir_in(outer.path()).unwrap();
        fs::write(store.path().join("1"), proto.encode_to_vec()).unwrap();
        fs::write(store.path().join("2"), data).unwrap();
        let path = names.path().join("m.onnx");
        symlink(store.path().join("1"), &path).unwrap();
        symlink(store.path().join("2"), names.path().join("m.onnx.data")).unwrap();
        let bytes = with_external_data(fs::read(&path).unwrap(), &path, MAX_BYTES).unwrap();
        assert_eq!(bytes, whole().to_bytes());
    }

    #[test]
    fn hostile_sizes_are_refused_before_anything_is_read() {
        let set = |key: &'static str, value: &'static str| {
            move |tensor: &mut TensorProto| {
                let entry = tensor.external_data.iter_mut().find(|entry| entry.key() == key);
                entry.unwrap().value = Some(value.to_owned());
            }
        };
        let huge = |side: i64| {
            move |tensor: &mut TensorProto| {
                tensor.dims = vec![side, side];
                tensor.external_data.retain(|entry| entry.key() != "length");
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let cases: [(Change, &str); 7] = [
            (Box::new(set("length", "17")), "where it has 17 bytes, expected 16"),
            (Box::new(set("length", "-1")), "at length `-1`"),
            (Box::new(set("offset", "1e3")), "at offset `1e3`"),
            (Box::new(set("offset", "18446744073709551615")), "it ends at 32"),
            (Box::new(huge(1 << 40)), "too large"),
            (Box::new(huge(1 << 16)), "a model with the data beside it of 1717"),
            (Box::new(huge(1 << 12)), "it ends at 32, expected 67108864 bytes from 4 on"),
        ];
        for (change, expected) in cases {
            let message = folded(&folder, "m.onnx.data", change).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
