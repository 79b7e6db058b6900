//! The common corruptions on the images of `tests/peers/corruptions.py`, as JSON: name → size → what
//! was measured.
//!
//! `cargo run --release -p rift-tests --bin corruptions -- speed CIFAR10 32,64,224` gives milliseconds
//! an image on one core, averaged over the severities; `changes CIFAR10 64,224 frost,fog` the mean absolute
//! change of a pixel at the five severities, over 4,000 images and draws at 64 pixels and 1,600 at 224.
//! Without names, of all corruptions.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use ndarray::{Array3, ArrayView3};
use rift_models::corruption::{Corruption, Draw, Severity};
use rift_models::dataset::{Dataset, Pixels, Request, Split};

type Failure = Box<dyn std::error::Error>;

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a program says what it found")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (what, data, sizes, names) = match &arguments[..] {
        [what, data, sizes] => (what, data, sizes, "all"),
        [what, data, sizes, names] => (what, data, sizes, names.as_str()),
        _ => {
            eprintln!(
                "error: expected `speed` or `changes`, a data set, sizes and perhaps names, found {arguments:?}"
            );
            return ExitCode::from(2);
        }
    };
    match measure(what, Path::new(data), sizes, names) {
        Ok(times) => {
            println!("{}", serde_json::json!(times));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

type Found = BTreeMap<&'static str, BTreeMap<String, serde_json::Value>>;

fn measure(what: &str, data: &Path, sizes: &str, names: &str) -> Result<Found, Failure> {
    let chosen = Corruption::selection(names)?;
    let data = Dataset::open(data, &Request::new(Split::Test).limit(200))?;
    let Pixels::Bytes(bytes) = &data.pixels else { return Err("expected images of bytes".into()) };
    let side = data.input()[1];
    let mut found = Found::new();
    for size in sizes.split(',') {
        let times = size.parse::<usize>()? / side;
        let count = match (what, times) {
            ("changes", 1) => 200,
            ("changes", 2) => 20,
            ("changes", _) => 4,
            // The larger the images, the fewer: the total stays about the same.
            ("speed", _) => 20_usize.div_ceil((times * times).max(1)),
            _ => return Err(format!("expected `speed` or `changes`, found `{what}`").into()),
        };
        let images: Vec<Array3<u8>> =
            bytes.outer_iter().take(count).map(|image| enlarged(&image, times)).collect();
        for corruption in chosen.iter().copied() {
            let value = if what == "speed" {
                serde_json::json!(milliseconds(corruption, &images)?)
            } else {
                let draws = if times > 2 { 1600 } else { 4000 };
                serde_json::json!(changes(corruption, &images, draws)?)
            };
            found.entry(corruption.name()).or_default().insert(size.to_owned(), value);
        }
    }
    Ok(found)
}

/// The mean absolute change of a pixel at each severity.
fn changes(
    corruption: Corruption,
    images: &[Array3<u8>],
    draws: usize,
) -> Result<Vec<f64>, Failure> {
    let mut all = Vec::new();
    for severity in Severity::ALL {
        let mut sum = 0.0;
        for i in 0..draws {
            let image = &images[i % images.len()];
            let draw = Draw { seed: (i / images.len()) as u64, sample: i % images.len() };
            let found = corruption.apply(severity, &image.view(), draw)?;
            let apart = image.iter().zip(&found).map(|(a, b)| u64::from(a.abs_diff(*b)));
            sum += apart.sum::<u64>() as f64 / image.len() as f64;
        }
        all.push(sum / draws as f64);
    }
    Ok(all)
}

fn enlarged(image: &ArrayView3<'_, u8>, times: usize) -> Array3<u8> {
    let (c, h, w) = image.dim();
    Array3::from_shape_fn((c, h * times, w * times), |(c, y, x)| image[[c, y / times, x / times]])
}

fn milliseconds(corruption: Corruption, images: &[Array3<u8>]) -> Result<f64, Failure> {
    let once = |repeat: u64| -> Result<(), Failure> {
        for severity in Severity::ALL {
            for (sample, image) in images.iter().enumerate() {
                corruption.apply(severity, &image.view(), Draw { seed: repeat, sample })?;
            }
        }
        Ok(())
    };
    once(0)?;
    let (start, repeats) = (Instant::now(), 3);
    for repeat in 0..repeats {
        once(repeat)?;
    }
    let images = repeats as usize * Severity::ALL.len() * images.len();
    Ok(start.elapsed().as_secs_f64() * 1e3 / images as f64)
}
