//! Reading a request's body within limits: of size, of time, and of memory for all of them.

use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use flate2::read::{GzDecoder, ZlibDecoder};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ServeError;
use super::app::App;

/// A body, or what was made of it, and the room in memory that it takes while it is held.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    _room: Room,
}

impl Content {
    pub(super) fn new(bytes: Bytes, room: Room) -> Self {
        Self { bytes, _room: room }
    }
}

/// Some KiB of those that all bodies share.
#[derive(Debug, Default)]
pub(super) struct Room {
    held: Option<OwnedSemaphorePermit>,
    kib: usize,
}

impl Room {
    /// Makes it large enough for so many bytes.
    pub(super) fn grow(&mut self, app: &App, bytes: usize) -> Result<(), ServeError> {
        self.grow_in(&app.room, bytes)
    }

    /// The same, for who works elsewhere.
    pub(super) fn grow_in(&mut self, all: &Arc<Semaphore>, bytes: usize) -> Result<(), ServeError> {
        let more = bytes.div_ceil(1024).saturating_sub(self.kib);
        if more == 0 {
            return Ok(());
        }
        let many = u32::try_from(more).unwrap_or(u32::MAX);
        let permit = Arc::clone(all).try_acquire_many_owned(many).map_err(|_| {
            ServeError::Unavailable { what: "no memory is left for the request".to_owned() }
        })?;
        self.kib += more;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }

    /// Leaves what is more than so many bytes to others.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let less = self.kib.saturating_sub(bytes.div_ceil(1024));
        if let Some(given) = self.held.as_mut().and_then(|held| held.split(less)) {
            self.kib -= given.num_permits();
        }
    }
}

/// The whole body, unpacked if it is packed.
pub(super) async fn read(
    app: &App,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Content, ServeError> {
    let packing = match packing(headers) {
        Ok(packing) => packing,
        Err(error) => {
            discard(app, body).await;
            return Err(error);
        }
    };
    let limit = app.limits.body;
    let seconds = app.limits.arrival.as_secs();
    let arrived = tokio::time::timeout(app.limits.arrival, arrive(app, &mut body)).await;
    let (bytes, mut room) = match arrived.map_err(|_| ServeError::Slow { seconds })? {
        Ok(arrived) => arrived,
        Err(error) => {
            discard(app, body).await;
            return Err(error);
        }
    };
    let Some(packing) = packing else { return Ok(Content::new(bytes, room)) };
    let unpacked = tokio::task::spawn_blocking(move || unpack(packing, &bytes, limit)).await;
    let unpacked = unpacked.map_err(|_| ServeError::Internal)??;
    room.grow(app, unpacked.len())?;
    Ok(Content::new(unpacked.into(), room))
}

/// Reads a body that is not wanted, as far as it would have been allowed: whose connection is closed
/// while it still sends may never see the answer.
pub(super) async fn discard(app: &App, mut body: Body) {
    let mut left = app.limits.body;
    let read = async {
        while let Some(Ok(frame)) = next(&mut body).await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(app.limits.arrival, read).await;
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, axum::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

async fn arrive(app: &App, body: &mut Body) -> Result<(Bytes, Room), ServeError> {
    let limit = app.limits.body;
    let too_large = || ServeError::TooLarge {
        what: format!("the body is too large, expected at most {limit} bytes"),
    };
    let size = body.size_hint();
    if size.lower() > limit as u64 {
        return Err(too_large());
    }
    let mut room = Room::default();
    let mut first: Option<Bytes> = None;
    let mut all = Vec::new();
    loop {
        let Some(frame) = next(body).await else { break };
        let frame = frame.map_err(|_| ServeError::invalid("the body breaks off"))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = first.as_ref().map_or(all.len(), Bytes::len) + data.len();
        if length > limit {
            return Err(too_large());
        }
        room.grow(app, length)?;
        // Most bodies arrive in one piece, which then is not copied.
        match first.take() {
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(piece) => {
                let expected = usize::try_from(size.upper().unwrap_or(0)).unwrap_or(0);
                all.reserve(expected.min(limit).max(length));
                all.extend_from_slice(&piece);
                all.extend_from_slice(&data);
            }
        }
    }
    Ok((first.unwrap_or_else(|| all.into()), room))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip,
    Deflate,
}

fn packing(headers: &HeaderMap) -> Result<Option<Packing>, ServeError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
    match value.as_bytes() {
        b"identity" | b"" => Ok(None),
        b"gzip" => Ok(Some(Packing::Gzip)),
        b"deflate" => Ok(Some(Packing::Deflate)),
        other => {
            let other = String::from_utf8_lossy(other);
            let what = format!("content encoding `{other}`, expected `gzip` or `deflate`");
            Err(ServeError::MediaType { what })
        }
    }
}

fn unpack(packing: Packing, bytes: &[u8], limit: usize) -> Result<Vec<u8>, ServeError> {
    let mut unpacked = Vec::new();
    // One byte more than allowed tells a body that fits from one that does not.
    let most = limit as u64 + 1;
    let done = match packing {
        Packing::Gzip => GzDecoder::new(bytes).take(most).read_to_end(&mut unpacked),
        Packing::Deflate => ZlibDecoder::new(bytes).take(most).read_to_end(&mut unpacked),
    };
    done.map_err(|error| ServeError::invalid(format!("the body cannot be unpacked: {error}")))?;
    if unpacked.len() > limit {
        let what = format!("the unpacked body is too large, expected at most {limit} bytes");
        return Err(ServeError::TooLarge { what });
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn a_body_that_unpacks_to_too_much_is_refused() {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = packer.finish().unwrap();
        assert!(packed.len() < 2000);
        assert_eq!(unpack(Packing::Gzip, &packed, 1 << 20).unwrap().len(), 1 << 20);
        let refused = unpack(Packing::Gzip, &packed, (1 << 20) - 1).unwrap_err();
        assert!(matches!(refused, ServeError::TooLarge { .. }), "{refused}");
        let refused = unpack(Packing::Deflate, &packed, 1 << 20).unwrap_err();
        assert!(refused.to_string().contains("unpacked"), "{refused}");
    }
}
