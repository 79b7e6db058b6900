//! A folder of class folders, the layout of most people's own images.
//!
//! Class folders lie directly in the folder, or in its folders `train` and `test` (or, where there
//! is no `test`, `validation`, `valid` or `val`). Classes are the names of the training class
//! folders, sorted; images lie at any depth below, sorted by path. Without `train` and `test` the
//! images are one labelled part.
//!
//! All images get the size that is the most frequent among 64 of the training images, spread
//! evenly. One of another size is cut to the target's aspect ratio around its centre and resized
//! (which is the same as resizing the shorter side and cropping the centre). The data set is grey
//! where all of the 64 are; grey images among coloured ones become coloured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, GenericImageView};

use super::error::{DatasetError, Place};
use super::part::{Half, Order, Part};
use super::picture::{self, Shape};
use super::recognise::{Layout, Listing};

/// What image files are called.
const EXTENSIONS: [&str; 12] =
    ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"];
/// How far below its class folder an image may lie.
const DEPTH: usize = 4;
/// How many headers are read to choose the size.
const SURVEYED: usize = 64;

/// Class folders, by half.
#[derive(Debug)]
pub(super) struct Folders {
    train: Option<Listing>,
    test: Option<Listing>,
    /// Of no half: they serve any.
    single: Option<Listing>,
}

impl Folders {
    /// Two class folders or more that hold images.
    pub(super) fn recognise(listing: Listing) -> Result<Option<Self>, DatasetError> {
        let half = |names: &[&str]| -> Result<Option<Listing>, DatasetError> {
            for name in names.iter().filter(|name| listing.folders.contains(**name)) {
                let folder = Listing::of(&listing.join(name))?;
                if holds_classes(&folder)? {
                    return Ok(Some(folder));
                }
            }
            Ok(None)
        };
        let train = half(&["train"])?;
        let test = half(&["test", "validation", "valid", "val"])?;
        if train.is_some() || test.is_some() {
            return Ok(Some(Self { train, test, single: None }));
        }
        let single = holds_classes(&listing)?.then_some(listing);
        Ok(single.map(|single| Self { train: None, test: None, single: Some(single) }))
    }

    fn half(&self, half: Half) -> Option<&Listing> {
        let found = match half {
            Half::Train => self.train.as_ref(),
            Half::Test => self.test.as_ref(),
        };
        found.or(self.single.as_ref())
    }
}

/// Whether two folders at least hold images.
fn holds_classes(listing: &Listing) -> Result<bool, DatasetError> {
    let mut classes = 0;
    for name in &listing.folders {
        classes += usize::from(!images_below(&listing.join(name), DEPTH)?.is_empty());
        if classes == 2 {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn is_image(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(found)))
}

/// The images in a folder and the folders below it, sorted.
pub(super) fn images_below(folder: &Path, depth: usize) -> Result<Vec<PathBuf>, DatasetError> {
    let listing = Listing::of(folder)?;
    let mut images: Vec<PathBuf> =
        listing.files.iter().filter(|name| is_image(name)).map(|name| listing.join(name)).collect();
    if depth > 1 {
        for name in &listing.folders {
            images.extend(images_below(&listing.join(name), depth - 1)?);
        }
    }
    images.sort();
    Ok(images)
}

impl Layout for Folders {
    fn name(&self) -> &'static str {
        "class folders"
    }

    fn expected(&self, half: Half) -> String {
        match half {
            Half::Train => "class folders in `train`".to_owned(),
            Half::Test => "class folders in `test` or `validation`".to_owned(),
        }
    }

    fn is_one_part(&self) -> bool {
        self.single.is_some()
    }

    fn part(&self, half: Half) -> Result<Option<Part>, DatasetError> {
        let Some(listing) = self.half(half) else { return Ok(None) };
        let Some(first) = self.half(Half::Train).or(self.half(Half::Test)) else { return Ok(None) };
        let classes: Vec<String> = first.folders.iter().cloned().collect();
        let files = Files::of(listing, &classes)?;
        let surveyed = if std::ptr::eq(listing, first) {
            survey(&files.paths)?
        } else {
            let training = Files::of(first, &classes)?;
            survey(&training.paths)?
        };
        let Files { paths, labels } = files;
        let pixels = move |rows: &[usize]| {
            picture::fill(rows.len(), surveyed, |i, out| read(&paths[rows[i]], surveyed, out))
        };
        let (order, pixels) = (Order::Interleaved, Box::new(pixels));
        Ok(Some(Part { labels, classes, counted: false, order, pixels }))
    }
}

/// The image files of one half with their labels, by class.
struct Files {
    paths: Vec<PathBuf>,
    labels: Vec<usize>,
}

impl Files {
    fn of(listing: &Listing, classes: &[String]) -> Result<Self, DatasetError> {
        let mut files = Self { paths: Vec::new(), labels: Vec::new() };
        for name in &listing.folders {
            let folder = listing.join(name);
            let Ok(label) = classes.binary_search(name) else {
                let expected = "a class that the training images have";
                return Err(DatasetError::content(&folder, expected, format!("`{name}`")));
            };
            let images = images_below(&folder, DEPTH)?;
            if images.is_empty() {
                return Err(DatasetError::content(&folder, "images of a class", "none"));
            }
            files.labels.extend(std::iter::repeat_n(label, images.len()));
            files.paths.extend(images);
        }
        Ok(files)
    }
}

/// The most frequent size of some images and whether all are grey.
fn survey(paths: &[PathBuf]) -> Result<Shape, DatasetError> {
    let mut sizes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut channels = 1;
    let count = paths.len().min(SURVEYED);
    for path in (0..count).map(|i| &paths[i * paths.len() / count]) {
        let shape = header(path)?;
        channels = channels.max(shape.channels);
        *sizes.entry((shape.height, shape.width)).or_default() += 1;
    }
    // Of two that are as frequent, the smaller.
    let size = sizes.iter().max_by_key(|(size, count)| (**count, std::cmp::Reverse(**size)));
    let (height, width) = size.map_or((0, 0), |(size, _)| *size);
    Ok(Shape { channels, height, width })
}

/// The shape that an image file declares.
pub(super) fn header(path: &Path) -> Result<Shape, DatasetError> {
    let bytes = fs::read(path).map_err(DatasetError::read(path))?;
    picture::shape(&bytes)
        .map_err(|source| DatasetError::Image { place: Place::File(path.to_owned()), source })
}

/// Reads an image file, fitted to `shape`.
fn read(path: &Path, shape: Shape, out: &mut [u8]) -> Result<(), DatasetError> {
    let place = || Place::File(path.to_owned());
    let bytes = fs::read(path).map_err(DatasetError::read(path))?;
    let picture =
        picture::decode(&bytes).map_err(|source| DatasetError::Image { place: place(), source })?;
    if shape.channels == 1 && picture.color().has_color() {
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let found = Shape { channels: 3, height, width }.to_string();
        return Err(DatasetError::Size { place: place(), expected: shape.to_string(), found });
    }
    picture::planes(&fit(picture, shape), shape, out);
    Ok(())
}

/// Cuts a picture to the aspect ratio of `shape` around its centre and resizes it.
fn fit(picture: DynamicImage, shape: Shape) -> DynamicImage {
    let (target_width, target_height) = (shape.width as u32, shape.height as u32);
    let (width, height) = picture.dimensions();
    if (width, height) == (target_width, target_height) {
        return picture;
    }
    // Both sides are below 2^32, so products fit.
    let wide = u64::from(width) * u64::from(target_height);
    let high = u64::from(height) * u64::from(target_width);
    let (cut_width, cut_height) = if wide > high {
        ((high / u64::from(target_height)).max(1) as u32, height)
    } else {
        (width, (wide / u64::from(target_width)).max(1) as u32)
    };
    let (left, top) = ((width - cut_width) / 2, (height - cut_height) / 2);
    let cut = picture.crop_imm(left, top, cut_width, cut_height);
    cut.resize_exact(target_width, target_height, FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::super::Split;
    use super::super::test_files::{add, failure, folder, grey, open, png};

    const RED: [u8; 3] = [255, 0, 0];
    const BLUE: [u8; 3] = [0, 0, 255];

    #[test]
    fn class_folders_serve_any_split_and_take_turns() {
        let folder = folder(&[
            ("cat/b.png", &png(4, 3, RED)),
            ("cat/deep/er/a.png", &png(4, 3, RED)),
            ("ant/1.PNG", &png(4, 3, BLUE)),
            ("ant/2.png", &grey(4, 3, 51, ImageFormat::Jpeg)),
            ("ant/notes.txt", b"not an image"),
        ]);
        let test = open(folder.path(), Split::Test).unwrap();
        assert_eq!(
            (test.input(), test.classes.as_slice()),
            ([3, 3, 4], &["ant".into(), "cat".into()][..])
        );
        assert_eq!(test.labels, [0, 1, 0, 1]);
        // Blue, red, the grey one in all planes (told by content, not by its name), red.
        let corner =
            |row: usize| -> Vec<f32> { test.rows(&[row]).iter().step_by(12).copied().collect() };
        assert_eq!(corner(0), [0.0, 0.0, 1.0]);
        assert_eq!(corner(1), [1.0, 0.0, 0.0]);
        assert_eq!(corner(2), [0.2, 0.2, 0.2]);
        let (train, validation) = (
            open(folder.path(), Split::Train).unwrap(),
            open(folder.path(), Split::Validation).unwrap(),
        );
        assert_eq!(
            (train.labels.as_slice(), validation.labels.as_slice()),
            (&[0, 1][..], &[0, 1][..])
        );
        assert_ne!(train.digest, validation.digest);
    }

    #[test]
    fn other_sizes_are_fitted_to_the_most_frequent() {
        // Red with a blue middle: fitting 8×2 to 2×2 takes the middle.
        let mut wide = image::RgbImage::from_pixel(8, 2, image::Rgb(RED));
        for (x, _, pixel) in wide.enumerate_pixels_mut() {
            if (3..5).contains(&x) {
                *pixel = image::Rgb(BLUE);
            }
        }
        let folder = folder(&[
            ("train/a/1.png", &png(2, 2, RED)),
            ("train/a/2.png", &png(2, 2, RED)),
            ("train/b/1.png", &png(1, 9, RED)),
            ("train/b/2.png", &png(200, 1, RED)),
            ("val/b/1.png", b""),
        ]);
        wide.save(folder.path().join("val/b/1.png")).unwrap();
        add(folder.path(), "val/a/1.png", &png(9, 9, BLUE));
        assert_eq!(open(folder.path(), Split::Train).unwrap().input(), [3, 2, 2]);
        let test = open(folder.path(), Split::Test).unwrap();
        assert_eq!((test.labels.as_slice(), test.input()), (&[0, 1][..], [3, 2, 2]));
        let blue = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(test.rows(&[1]).into_raw_vec_and_offset().0, blue);
    }

    #[test]
    fn grey_stays_grey() {
        let grey = grey(2, 2, 255, ImageFormat::Png);
        let folder = folder(&[("a/1.png", &grey), ("b/1.png", &grey)]);
        assert_eq!(open(folder.path(), Split::Test).unwrap().input(), [1, 2, 2]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = png(2, 2, RED);
        let folder = folder(&[("train/a/1.png", &good), ("train/b/1.png", &good)]);
        let text = open(folder.path(), Split::Test).unwrap_err().to_string();
        assert!(text.ends_with("expected class folders in `test` or `validation`"), "{text}");
        add(folder.path(), "train/b/1.png", &good[..40]);
        let text = failure(folder.path());
        assert!(text.starts_with("cannot decode the image `"), "{text}");
        assert!(text.contains("train/b/1.png`: "), "{text}");
        add(folder.path(), "train/b/1.png", b"no picture");
        assert!(failure(folder.path()).contains("train/b/1.png`: "));
        add(folder.path(), "train/b/1.png", &good);
        std::fs::create_dir(folder.path().join("train/c")).unwrap();
        assert!(failure(folder.path()).ends_with("expected images of a class, found none"));
        add(folder.path(), "train/c/1.png", &good);
        add(folder.path(), "test/a/1.png", &good);
        add(folder.path(), "test/dog/1.png", &good);
        let text = open(folder.path(), Split::Test).unwrap_err().to_string();
        assert!(text.contains("expected a class that the training images have"), "{text}");
    }

    #[test]
    fn a_small_file_that_declares_a_huge_picture_is_refused() {
        let mut bomb = b"BM".to_vec();
        let words = [1000_u32, 0, 54, 40, 60_000, 60_000, 1 | 24 << 16, 0, 0, 0, 0, 0, 0];
        bomb.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let good = png(2, 2, RED);
        let folder = folder(&[("a/1.bmp", &bomb), ("b/1.png", &good)]);
        let text = failure(folder.path());
        assert!(text.contains("a/1.bmp`: ") && text.contains("limit"), "{text}");
    }
}
