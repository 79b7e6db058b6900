//! The format of `.npy` files, an array at a time.
//!
//! Sizes that a header declares are checked against what the file can hold before any memory is
//! taken for them.
//!
//! # References
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io::{self, Read};
use std::path::Path;

use super::error::DatasetError;

/// The longest header that is read.
const MOST_HEADER: usize = 1 << 16;

/// An array in C order.
#[derive(Debug)]
pub(super) struct Npy {
    /// The type's letter: `u`, `i`, `f`, `U`, `S`.
    pub(super) kind: char,
    /// Bytes a value; characters for `U`.
    size: usize,
    big_endian: bool,
    /// Extents.
    pub(super) shape: Vec<usize>,
    /// The values' bytes.
    pub(super) bytes: Vec<u8>,
}

impl Npy {
    /// Reads an array from `reader`, which gives at most `most` bytes; `path` is for messages.
    pub(super) fn read(
        path: &Path,
        mut reader: impl Read,
        most: u64,
    ) -> Result<Self, DatasetError> {
        let text = header(&mut reader).map_err(DatasetError::read(path))?;
        let fail =
            |expected: &str| DatasetError::content(path, expected, format!("`{}`", text.trim()));
        let (kind, size, big_endian) =
            descr(&text).ok_or_else(|| fail("a NumPy header with a plain type"))?;
        if field(&text, "fortran_order").is_none_or(|value| !value.starts_with("False")) {
            return Err(fail("an array in C order"));
        }
        let shape = shape(&text).ok_or_else(|| fail("a NumPy header with a shape"))?;
        let mut array = Self { kind, size, big_endian, shape, bytes: Vec::new() };
        let wanted = array
            .shape
            .iter()
            .try_fold(array.width() as u64, |n, extent| n.checked_mul(*extent as u64))
            .filter(|wanted| *wanted <= most);
        let length =
            |expected, found| DatasetError::Length { path: path.to_owned(), expected, found };
        let Some(wanted) = wanted else {
            return Err(length(format!("an array of shape {:?}", array.shape), most));
        };
        // One more than wanted tells an array that is too long.
        let bytes = &mut array.bytes;
        reader.take(wanted + 1).read_to_end(bytes).map_err(DatasetError::read(path))?;
        if bytes.len() as u64 != wanted {
            return Err(length(format!("{wanted} bytes after the header"), bytes.len() as u64));
        }
        Ok(array)
    }

    /// Bytes a value.
    fn width(&self) -> usize {
        if self.kind == 'U' { self.size.saturating_mul(4) } else { self.size }
    }

    /// Whether the values are of that kind and size.
    pub(super) fn is(&self, kind: char, size: usize) -> bool {
        (self.kind, self.size) == (kind, size)
    }

    /// The type, as in `u1`.
    pub(super) fn type_name(&self) -> String {
        format!("{}{}", self.kind, self.size)
    }

    /// One value's bytes, the least significant first.
    fn little(&self, value: &[u8]) -> [u8; 8] {
        let mut out = [0; 8];
        for (place, byte) in value.iter().take(8).enumerate() {
            out[if self.big_endian { value.len().min(8) - 1 - place } else { place }] = *byte;
        }
        out
    }

    /// Integers of any type, or nothing if the type is another.
    pub(super) fn integers(&self) -> Option<Vec<i128>> {
        if !matches!(self.kind, 'u' | 'i') || !matches!(self.size, 1 | 2 | 4 | 8) {
            return None;
        }
        let spare = 64 - 8 * self.size as u32;
        let value = |bytes: &[u8]| {
            let raw = u64::from_le_bytes(self.little(bytes));
            // Shifting up and down again copies the sign.
            if self.kind == 'u' {
                i128::from(raw)
            } else {
                i128::from((raw << spare) as i64 >> spare)
            }
        };
        Some(self.bytes.chunks_exact(self.size).map(value).collect())
    }

    /// Some of the values of an array of float32.
    pub(super) fn floats(&self, values: std::ops::Range<usize>) -> impl Iterator<Item = f32> + '_ {
        let bytes = &self.bytes[values.start * 4..values.end * 4];
        bytes.chunks_exact(4).map(|value| {
            let little = self.little(value);
            f32::from_le_bytes([little[0], little[1], little[2], little[3]])
        })
    }

    /// Strings, or nothing if the type is another.
    pub(super) fn strings(&self) -> Option<Vec<String>> {
        if !matches!(self.kind, 'U' | 'S') || self.size == 0 {
            return None;
        }
        let string = |bytes: &[u8]| -> Option<String> {
            let text = if self.kind == 'S' {
                String::from_utf8(bytes.to_vec()).ok()?
            } else {
                let code = |c: &[u8]| char::from_u32(u64::from_le_bytes(self.little(c)) as u32);
                bytes.chunks_exact(4).map(code).collect::<Option<String>>()?
            };
            Some(text.trim_end_matches('\0').to_owned())
        };
        self.bytes.chunks_exact(self.width()).map(string).collect()
    }
}

/// The text of a header.
fn header(reader: &mut impl Read) -> io::Result<String> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(invalid("it is no NumPy array"));
    }
    let length = if start[6] == 1 {
        let mut length = [0; 2];
        reader.read_exact(&mut length)?;
        usize::from(u16::from_le_bytes(length))
    } else {
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        u32::from_le_bytes(length) as usize
    };
    if length > MOST_HEADER {
        return Err(invalid("its header is too long"));
    }
    let mut text = vec![0; length];
    reader.read_exact(&mut text)?;
    String::from_utf8(text).map_err(|_| invalid("its header is no text"))
}

/// What follows a key of the header's dictionary.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("'{key}'"))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// Kind, size and whether the bytes are in big-endian order, of `'<f4'`.
fn descr(text: &str) -> Option<(char, usize, bool)> {
    let (descr, _) = field(text, "descr")?.strip_prefix('\'')?.split_once('\'')?;
    let mut chars = descr.chars();
    let order = chars.next().filter(|order| "<>|=".contains(*order))?;
    let kind = chars.next().filter(char::is_ascii_alphabetic)?;
    Some((kind, chars.as_str().parse().ok()?, order == '>'))
}

/// The extents of `(10, 32, 32, 3)`.
fn shape(text: &str) -> Option<Vec<usize>> {
    let (shape, _) = field(text, "shape")?.strip_prefix('(')?.split_once(')')?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.map(|extent| extent.parse().ok()).collect()
}
