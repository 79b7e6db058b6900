//! Milliseconds an image of each corruption on one core, averaged over the severities, as JSON: name
//! → size → time. `tests/peers/corruptions.py speed` measures the originals on the same images.
//!
//! `cargo run --release -p rift-tests --bin corruptions -- CIFAR10 32,64,224`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use ndarray::{Array3, ArrayView3, Axis};
use rift_models::corruption::{Corruption, Draw, Severity};
use rift_models::dataset::{Dataset, Pixels, Request, Split};

type Failure = Box<dyn std::error::Error>;

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a program says what it found")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, sizes] = &arguments[..] else {
        eprintln!("error: expected a data set and sizes such as `32,64`, found {arguments:?}");
        return ExitCode::from(2);
    };
    match measure(Path::new(data), sizes) {
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

fn measure(
    data: &Path,
    sizes: &str,
) -> Result<BTreeMap<&'static str, BTreeMap<String, f64>>, Failure> {
    let data = Dataset::open(data, &Request::new(Split::Test).limit(20))?;
    let Pixels::Bytes(bytes) = &data.pixels else { return Err("expected images of bytes".into()) };
    let side = data.input()[1];
    let mut times: BTreeMap<_, BTreeMap<String, f64>> = BTreeMap::new();
    for size in sizes.split(',') {
        // The larger the images, the fewer: the total stays about the same.
        let times_larger = size.parse::<usize>()? / side;
        let count = bytes.len_of(Axis(0)).div_ceil((times_larger * times_larger).max(1));
        let images: Vec<Array3<u8>> =
            bytes.outer_iter().take(count).map(|image| enlarged(image, times_larger)).collect();
        for corruption in Corruption::ALL {
            let time = milliseconds(corruption, &images)?;
            times.entry(corruption.name()).or_default().insert(size.to_owned(), time);
        }
    }
    Ok(times)
}

fn enlarged(image: ArrayView3<'_, u8>, times: usize) -> Array3<u8> {
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
