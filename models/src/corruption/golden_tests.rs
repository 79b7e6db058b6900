//! The published programs' results against ours; `tests/peers/corruptions.py` makes the goldens.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array3, ArrayView3, Axis};
use ndarray_npy::ViewNpyExt;
use rayon::prelude::*;

use super::planes::{Plane, Rgb};
use super::{Corruption, Draw, Severity, Size, motion, spatter};
use crate::dataset::{Dataset, Pixels, Request, Split};

/// The corruptions that draw nothing, in the order of the golden.
const FIXED: [Corruption; 8] = [
    Corruption::DefocusBlur,
    Corruption::ZoomBlur,
    Corruption::Brightness,
    Corruption::Contrast,
    Corruption::Pixelate,
    Corruption::JpegCompression,
    Corruption::GaussianBlur,
    Corruption::Saturate,
];
const SIDE: usize = 20;
/// The largest share of values that may differ, by one level, from the original's.
const MOST_APART: f64 = 0.01;
/// By how much the mean change of a pixel may differ, relative to the original's.
const MOST_CHANGE: f64 = 0.03;

/// A linear congruential generator's high bytes.
fn random_bytes(mut state: u32) -> impl Iterator<Item = usize> {
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as usize
    })
}

/// Slopes, edges and noise.
fn picture() -> Array3<u8> {
    let mut noise = random_bytes(1);
    Array3::from_shape_fn((3, SIDE, SIDE), |(c, y, x)| {
        let slope = (9 * x + 5 * y * (c + 1) + 30 * c) % 256;
        ((3 * slope + noise.next().unwrap()) / 4) as u8
    })
}

/// What `spatter` would draw.
fn liquid() -> Plane {
    let mut noise = random_bytes(2);
    let values = (0..SIDE * SIDE).map(|i| {
        let (y, x) = (i / SIDE, i % SIDE);
        let noise = noise.next().unwrap() as f64 / 255.0;
        0.55 + 0.2 * ((x / 5 + y / 5) % 2) as f64 + 0.2 * (noise - 0.5)
    });
    Plane { height: SIDE, width: SIDE, values: values.collect() }
}

/// The share of values that differ, and the largest difference.
fn difference(found: &Array3<u8>, golden: &ArrayView3<'_, u8>) -> (f64, u8) {
    let golden = golden.permuted_axes([2, 0, 1]);
    let apart: Vec<u8> = found.iter().zip(&golden).map(|(a, b)| a.abs_diff(*b)).collect();
    let share = apart.iter().filter(|d| **d > 0).count() as f64 / apart.len() as f64;
    (share, apart.into_iter().max().unwrap())
}

#[test]
fn what_draws_nothing_is_the_original_pixel_for_pixel() {
    let goldens = include_bytes!("goldens/pixels.npy");
    let goldens = ndarray::ArrayView5::<u8>::view_npy(goldens).unwrap();
    let image = picture();
    let draw = Draw { seed: 0, sample: 0 };
    let levels = [1, 2, 3, 4, 5, 1, 5];
    let mut wrong = Vec::new();
    for (case, goldens) in goldens.outer_iter().enumerate() {
        for (i, (level, golden)) in levels.into_iter().zip(goldens.outer_iter()).enumerate() {
            let size = if i < 5 { Size::Cifar } else { Size::ImageNet };
            let severity = Severity(level);
            let (name, found) = match FIXED.get(case) {
                Some(corruption) => {
                    (corruption.name(), corruption.in_colour(size, severity, &image.view(), draw))
                }
                None if case == 8 => {
                    let motion = size.motion_blur(level);
                    let moved = |plane: &mut Plane| motion::moved(plane, motion, 30.0);
                    ("motion_blur", Rgb::of(&image.view()).each(moved).bytes())
                }
                None => {
                    let spatter = size.spatter(level);
                    let image = Rgb::of(&image.view());
                    ("spatter", spatter::spattered(image, spatter, liquid()).bytes())
                }
            };
            let (share, most) = difference(&found, &golden);
            // A sum of float64 that falls on a whole level may be cut on either side of it.
            if share > MOST_APART || most > 1 {
                wrong.push((name, size, level, share, most));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The first 200 test images of CIFAR-10, where it lies beside the repository.
fn cifar() -> Option<Dataset> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/cifar10"));
    if !path.exists() {
        eprintln!("skipped: `{}` is not there", path.display());
        return None;
    }
    Some(Dataset::open(path, &Request::new(Split::Test).limit(200)).unwrap())
}

/// The mean over images, pixels and as many seeds as asked of how far a corruption moves a pixel.
fn change(
    corruption: Corruption,
    severity: Severity,
    images: &[ArrayView3<'_, u8>],
    seeds: u64,
) -> f64 {
    let one = |i: usize| {
        let image = images[i % images.len()];
        let draw = Draw { seed: (i / images.len()) as u64, sample: i % images.len() };
        let found = corruption.apply(severity, &image, draw).unwrap();
        let apart = image.iter().zip(&found).map(|(a, b)| u64::from(a.abs_diff(*b)));
        apart.sum::<u64>() as f64 / image.len() as f64
    };
    let count = images.len() * seeds as usize;
    (0..count).into_par_iter().map(one).sum::<f64>() / count as f64
}

/// A file that the generator writes.
fn goldens(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/corruption/goldens");
    std::fs::read_to_string(Path::new(folder).join(name)).unwrap()
}

/// The images with each pixel repeated.
fn enlarged(images: &[ArrayView3<'_, u8>], times: usize) -> Vec<Array3<u8>> {
    let one = |image: &ArrayView3<'_, u8>| {
        let (c, h, w) = image.dim();
        Array3::from_shape_fn((c, h * times, w * times), |(c, y, x)| {
            image[[c, y / times, x / times]]
        })
    };
    images.iter().map(one).collect()
}

/// What is drawn for an image as a whole; a mean over few images says little about it.
const WHOLE: [Corruption; 5] = [
    Corruption::Frost,
    Corruption::Fog,
    Corruption::MotionBlur,
    Corruption::Spatter,
    Corruption::ElasticTransform,
];

/// Compares with the goldens of one size, over so many draws of each of these corruptions.
fn compare(
    size: &str,
    images: &[Array3<u8>],
    severities: &[Severity],
    draws: &[(Corruption, usize)],
) {
    let images: Vec<_> = images.iter().map(|image| image.view()).collect();
    let goldens: BTreeMap<Corruption, BTreeMap<String, [[f64; 2]; 5]>> =
        serde_json::from_str(&goldens("changes.json")).unwrap();
    let mut wrong = Vec::new();
    for (corruption, draws) in draws {
        for severity in severities {
            let seeds = draws.div_ceil(images.len()) as u64;
            let found = change(*corruption, *severity, &images, seeds);
            let [golden, _] = goldens[corruption][size][usize::from(severity.0) - 1];
            let line =
                format!("{corruption} {severity} at {size}: {found:.3}, original {golden:.3}");
            println!("{line}");
            // Nothing changes where pixels of 2×2 are reduced to a half.
            if (found - golden).abs() > MOST_CHANGE * golden + 1e-3 {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pixels_of_cifar_change_as_much_as_the_original_changes_them() {
    let Some(images) = cifar() else { return };
    let Pixels::Bytes(bytes) = &images.pixels else { panic!("CIFAR-10 is bytes") };
    let images: Vec<_> = bytes.outer_iter().map(|image| image.to_owned()).collect();
    let draws = Corruption::ALL.map(|corruption| match corruption {
        Corruption::Frost => (corruption, 2000),
        corruption if WHOLE.contains(&corruption) => (corruption, 1000),
        corruption => (corruption, 200),
    });
    compare("32", &images, &Severity::ALL, &draws);
}

#[test]
fn pixels_of_larger_images_change_as_much() {
    // The five that need thousands of draws are compared by `rift-tests`' program `corruptions`.
    let Some(images) = cifar() else { return };
    let Pixels::Bytes(bytes) = &images.pixels else { panic!("CIFAR-10 is bytes") };
    let images: Vec<_> = bytes.outer_iter().take(20).collect();
    let few = Corruption::ALL.into_iter().filter(|corruption| !WHOLE.contains(corruption));
    let (tiny, large): (Vec<_>, Vec<_>) =
        few.map(|corruption| ((corruption, 20), (corruption, 4))).unzip();
    compare("64", &enlarged(&images, 2), &Severity::ALL, &tiny);
    compare("224", &enlarged(&images[..4], 7), &[Severity::ALL[0], Severity::ALL[4]], &large);
}

#[test]
fn an_image_alone_is_the_image_in_a_batch() {
    let request = Request::new(Split::Test).limit(5);
    let images = Dataset::synthetic(&"synthetic:10x3x32x32".parse().unwrap(), &request).unwrap();
    for corruption in Corruption::ALL {
        let severity = Severity::ALL[3];
        let all = corruption.batch(severity, &images, 0..5, 7).unwrap();
        let alone = corruption.batch(severity, &images, 3..4, 7).unwrap();
        assert_eq!(all.index_axis(Axis(0), 3), alone.index_axis(Axis(0), 0), "{corruption}");
        let other = corruption.batch(severity, &images, 3..4, 8).unwrap();
        assert_eq!(other == alone, FIXED.contains(&corruption), "{corruption} and its seed");
    }
}

#[test]
fn grey_images_and_odd_sides_come_back_in_their_shape() {
    let noise: Vec<u8> = random_bytes(5).take(3 * 70 * 41).map(|v| v as u8).collect();
    for (c, h, w) in [(1, 28, 28), (3, 8, 31), (1, 41, 17), (3, 70, 41)] {
        let image = ArrayView3::from_shape((c, h, w), &noise[..c * h * w]).unwrap();
        for corruption in Corruption::ALL {
            for severity in [Severity::ALL[0], Severity::ALL[4]] {
                let out = corruption.apply(severity, &image, Draw { seed: 0, sample: 1 }).unwrap();
                assert_eq!(out.dim(), (c, h, w), "{corruption}");
                let same = corruption == Corruption::Saturate && c == 1;
                assert_eq!(out == image, same, "{corruption} {severity} of {c}×{h}×{w}");
            }
        }
    }
}

#[test]
fn what_cannot_be_corrupted_is_named() {
    let fails = |shape| {
        let draw = Draw { seed: 0, sample: 0 };
        Corruption::Fog
            .apply(Severity::ALL[0], &Array3::zeros(shape).view(), draw)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(fails((2, 32, 32)), "corruptions take images of 1 or 3 channels, found 2");
    assert_eq!(fails((3, 32, 7)), "corruptions take images of at least 8×8 pixels, found 32×7");
    let unknown = Corruption::selection("fog,smog").unwrap_err().to_string();
    assert!(
        unknown.starts_with("unknown corruption `smog`, expected `standard` (15)"),
        "{unknown}"
    );
    for level in ["0", "6", "x"] {
        let text = level.parse::<Severity>().unwrap_err().to_string();
        assert_eq!(text, format!("severity `{level}` is not one of 1 to 5"));
    }
    assert_eq!("5".parse(), Ok(Severity::ALL[4]));
}

#[test]
fn the_draws_are_pinned() {
    // A change here would silently change every published accuracy out of distribution.
    let image = picture();
    let sums: Vec<u64> = Corruption::ALL
        .into_iter()
        .map(|corruption| {
            let draw = Draw { seed: 3, sample: 5 };
            let out = corruption.apply(Severity::ALL[2], &image.view(), draw).unwrap();
            out.iter().enumerate().map(|(i, v)| (i as u64 % 251 + 1) * u64::from(*v)).sum()
        })
        .collect();
    assert_eq!(sums, PINNED, "{sums:?}");
}

#[rustfmt::skip]
const PINNED: [u64; 19] = [
    19_495_702, 19_286_274, 19_403_317, 19_469_492, 19_157_825, 19_662_714, 19_381_951, 23_442_191,
    29_273_092, 20_067_483, 23_278_067, 19_290_354, 19_505_217, 19_541_432, 19_638_426, 19_362_494,
    19_437_452, 20_072_092, 16_401_298,
];
