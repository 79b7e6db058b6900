//! Small data sets on the disk, for the tests of the readers.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, RgbImage};
use tempfile::TempDir;

use super::{Dataset, DatasetError, Request, Split};

/// A folder with files at relative paths.
pub(super) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        add(folder.path(), name, bytes);
    }
    folder
}

/// Adds a file and the folders it lies in.
pub(super) fn add(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Opens all of a split.
pub(super) fn open(path: &Path, split: Split) -> Result<Dataset, DatasetError> {
    Dataset::open(path, &Request::new(split))
}

/// What opening a path for training says is wrong, with all causes.
pub(super) fn failure(path: &Path) -> String {
    chain(&open(path, Split::Train).unwrap_err())
}

/// An error with all causes, as the programs print it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A PNG in one colour.
pub(super) fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    encode(&RgbImage::from_pixel(width, height, image::Rgb(colour)).into(), ImageFormat::Png)
}

/// A grey picture in any format.
pub(super) fn grey(width: u32, height: u32, value: u8, format: ImageFormat) -> Vec<u8> {
    encode(&image::GrayImage::from_pixel(width, height, image::Luma([value])).into(), format)
}

fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A `.npy` file.
pub(super) fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(values);
    bytes
}
