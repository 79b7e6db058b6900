//! Labelled images as an archive `.npz` that is read back as it was.

use std::io::{self, Seek, Write};

use ndarray::{ArrayView1, ArrayView4};
use ndarray_npy::{WriteNpyError, WriteNpyExt};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Images with their labels and the names of the classes.
///
/// The archive holds `x` (float32 N×C×H×W), `y` and `index` (int64) and `classes`, strings: without
/// them its classes would be as many as its largest label tells.
///
/// # Units
/// Pixels in [0, 1].
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// The images.
    pub x: ArrayView4<'a, f32>,
    /// A label an image.
    pub y: &'a [usize],
    /// Each image's position among those that it was made from.
    pub index: &'a [usize],
    /// A name a class.
    pub classes: &'a [String],
}

impl Saved<'_> {
    /// Writes the archive.
    ///
    /// # Errors
    /// If the disk is full or the file cannot be written.
    pub fn write(&self, file: impl Write + Seek) -> io::Result<()> {
        let mut zip = ZipWriter::new(file);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        zip.start_file("x.npy", options)?;
        self.x.write_npy(&mut zip).map_err(failed)?;
        for (name, values) in [("y", self.y), ("index", self.index)] {
            let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
            zip.start_file(format!("{name}.npy"), options)?;
            ArrayView1::from(&values).write_npy(&mut zip).map_err(failed)?;
        }
        zip.start_file("classes.npy", options)?;
        zip.write_all(&strings(self.classes))?;
        zip.finish()?;
        Ok(())
    }
}

fn failed(error: WriteNpyError) -> io::Error {
    match error {
        WriteNpyError::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// A `.npy` of strings, each of as many characters as the longest.
fn strings(names: &[String]) -> Vec<u8> {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(1);
    let shape = names.len();
    let text = format!("{{'descr': '<U{longest}', 'fortran_order': False, 'shape': ({shape},), }}");
    // The values begin at a multiple of 64, as NumPy has it.
    let header = (text.len() + 11).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = header - 1).as_bytes());
    for name in names {
        let padded = name.chars().map(u32::from).chain(std::iter::repeat(0));
        bytes.extend(padded.take(longest).flat_map(u32::to_le_bytes));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::super::Split;
    use super::super::class_names::{numbered, owned};
    use super::super::test_files::{folder, open};
    use super::*;

    #[test]
    fn comes_back_with_all_its_classes() {
        let folder = folder(&[]);
        let path = folder.path().join("adversarial.npz");
        let x =
            Array4::from_shape_fn((2, 1, 2, 2), |(n, _, y, x)| (4 * n + 2 * y + x) as f32 / 8.0);
        // No image is of the last class.
        for classes in [owned(&["chat", "Übermaß 猫", "", "n"]), numbered(12)] {
            let saved = Saved { x: x.view(), y: &[1, 0], index: &[0, 7], classes: &classes };
            saved.write(std::fs::File::create(&path).unwrap()).unwrap();
            let read = open(&path, Split::Test).unwrap();
            assert_eq!((&read.classes, read.labels.as_slice()), (&classes, &[1, 0][..]));
            assert_eq!((read.batch(0..2), read.counted), (x.clone(), false));
        }
    }
}
