//! Encoded pictures, made into what a model takes away from the threads that serve.

use std::sync::Arc;

use axum::body::Bytes;
use image::ImageFormat;
use ndarray::Array4;

use super::ServeError;
use super::app::App;
use super::body::{Content, Room};
use super::served::Served;
use crate::picture::{self, Acceptance, PictureError};

/// The formats that are taken from strangers.
const FORMATS: [ImageFormat; 2] = [ImageFormat::Png, ImageFormat::Jpeg];

/// The model's input for these pictures, with the room that it takes.
pub(super) async fn decode(
    app: &App,
    served: &Arc<Served>,
    files: Vec<Bytes>,
) -> Result<Content, ServeError> {
    let [c, h, w] = served.classifier().input();
    let bytes = files.len().saturating_mul(c * h * w * size_of::<f32>());
    if bytes > app.limits.body {
        let (n, limit) = (files.len(), app.limits.body);
        let what =
            format!("{n} pictures of {c}x{h}x{w} take {bytes} bytes, expected at most {limit}");
        return Err(ServeError::TooLarge { what });
    }
    let acceptance = Acceptance { formats: &FORMATS, pixels: app.limits.pixels };
    let (served, all) = (Arc::clone(served), Arc::clone(&app.room));
    let work = move || {
        let mut room = Room::default();
        let mut pixels = Array4::zeros((files.len(), c, h, w));
        for (number, (file, mut image)) in files.iter().zip(pixels.outer_iter_mut()).enumerate() {
            let unread = |error: PictureError| {
                ServeError::invalid(format!("picture {number} cannot be read: {error}"))
            };
            // A picture of one colour is a thousand times as large as its file.
            let decoded = picture::decoded_bytes(file, acceptance).map_err(unread)?;
            let decoded = usize::try_from(decoded).unwrap_or(usize::MAX);
            room.grow_in(&all, bytes.saturating_add(decoded))?;
            let decoded = picture::from_bytes(file, [c, h, w], acceptance).map_err(unread)?;
            image.assign(&decoded);
        }
        let packed = served.packer().pack(&pixels.view());
        // It waits for a core, which the decoded pictures do not.
        room.shrink(packed.len());
        Ok(Content::new(packed.into(), room))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| ServeError::Internal)?
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::RgbImage;

    use super::*;
    use crate::server::{Limits, Registry, Serving, Source, Watching};
    use crate::session::Opening;
    use crate::small_models::conv_net;

    #[tokio::test]
    async fn a_picture_takes_the_room_of_its_pixels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        conv_net(None).write(&path).unwrap();
        let watching = Watching::default();
        let serving = Serving { threads: 1, batch: 2, together: 1, queue: 4, watching };
        let registry = Registry::new(serving, Opening::default());
        let source = Source { name: "m".to_owned(), version: 1, path };
        let served = registry.load(&source).unwrap();
        let app = App::new(registry, None, Limits { bodies: 64 << 10, ..Limits::default() });
        let png = |side| {
            let mut file = Cursor::new(Vec::new());
            RgbImage::new(side, side).write_to(&mut file, ImageFormat::Png).unwrap();
            Bytes::from(file.into_inner())
        };
        let large = png(200);
        assert!(large.len() < 2000, "its file would fit");
        let refused = decode(&app, &served, vec![large]).await.unwrap_err();
        assert!(matches!(refused, ServeError::Unavailable { .. }), "{refused}");
        // One after the other: what waits for a core is small.
        let _first = decode(&app, &served, vec![png(120), png(120)]).await.unwrap();
        let _second = decode(&app, &served, vec![png(120)]).await.unwrap();
        assert_eq!(app.room.available_permits(), 64 - 2 - 1);
        app.registry.close();
    }
}
