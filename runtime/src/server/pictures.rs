//! Encoded pictures, made into what a model takes away from the threads that serve.

use std::sync::Arc;

use axum::body::Bytes;
use image::ImageFormat;
use ndarray::Array4;

use super::ServeError;
use super::app::App;
use super::served::Served;
use crate::picture::{self, Acceptance};

/// The formats that are taken from strangers.
const FORMATS: [ImageFormat; 2] = [ImageFormat::Png, ImageFormat::Jpeg];

/// The model's input for these pictures.
pub(super) async fn decode(
    app: &App,
    served: &Arc<Served>,
    files: Vec<Bytes>,
) -> Result<Bytes, ServeError> {
    let [c, h, w] = served.classifier().input();
    let bytes = files.len().saturating_mul(c * h * w * size_of::<f32>());
    if bytes > app.limits.body {
        let (n, limit) = (files.len(), app.limits.body);
        let what =
            format!("{n} pictures of {c}x{h}x{w} take {bytes} bytes, expected at most {limit}");
        return Err(ServeError::TooLarge { what });
    }
    let acceptance = Acceptance { formats: &FORMATS, pixels: app.limits.pixels };
    let served = Arc::clone(served);
    let work = move || {
        let mut pixels = Array4::zeros((files.len(), c, h, w));
        for (number, (file, mut image)) in files.iter().zip(pixels.outer_iter_mut()).enumerate() {
            let decoded = picture::from_bytes(file, [c, h, w], acceptance).map_err(|error| {
                ServeError::invalid(format!("picture {number} cannot be read: {error}"))
            })?;
            image.assign(&decoded);
        }
        Ok(served.packer().pack(&pixels.view()).into())
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| ServeError::Internal)?
}
