//! A call's messages as they arrive: within limits of size, of time, and of memory for all of them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::time::Sleep;
use tonic::Status;

use crate::server::ServeError;
use crate::server::app::App;
use crate::server::body::Room;

/// The room that what has arrived takes, until a call takes it over.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrived(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    room: Room,
    bytes: usize,
}

/// The body of a call's request.
#[derive(Debug)]
pub(super) struct Arriving {
    body: Body,
    app: Arc<App>,
    arrived: Arrived,
    framing: Framing,
    /// Whether messages may be long in coming as long as each arrives in time.
    is_stream: bool,
    /// When it is too late.
    late: Option<Pin<Box<Sleep>>>,
}

/// Where in a message the bytes are: a head of five, of which the last four say how many follow.
#[derive(Debug, Default)]
struct Framing {
    head: usize,
    length: usize,
    left: usize,
}

impl Arrived {
    /// Takes over the room of the messages that have arrived.
    pub(super) fn take(&self) -> Room {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).room
    }

    fn grow(&self, app: &App, bytes: usize) -> Result<(), ServeError> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.bytes += bytes;
        let bytes = taken.bytes;
        taken.room.grow(app, bytes)
    }
}

impl Framing {
    /// Follows `data`, and refuses a message of more than `limit` bytes before it comes.
    fn pass(&mut self, mut data: &[u8], limit: usize) -> Result<(), ServeError> {
        while let Some((&byte, rest)) = data.split_first() {
            if self.left > 0 {
                let (_, rest) = data.split_at(self.left.min(data.len()));
                self.left -= data.len() - rest.len();
                data = rest;
                continue;
            }
            // The first byte says whether the message is packed.
            if self.head > 0 {
                self.length = self.length << 8 | usize::from(byte);
            }
            self.head += 1;
            data = rest;
            if self.head == 5 {
                if self.length > limit {
                    let (found, expected) = (self.length, limit);
                    let what =
                        format!("the message has {found} bytes, expected at most {expected}");
                    return Err(ServeError::TooLarge { what });
                }
                *self = Self { left: self.length, ..Self::default() };
            }
        }
        Ok(())
    }

    fn is_between(&self) -> bool {
        self.head == 0 && self.left == 0
    }
}

impl Arriving {
    pub(super) fn new(body: Body, app: Arc<App>, arrived: Arrived, is_stream: bool) -> Self {
        let late = (!is_stream).then(|| Self::late(&app));
        Self { body, app, arrived, framing: Framing::default(), is_stream, late }
    }

    fn late(app: &App) -> Pin<Box<Sleep>> {
        Box::pin(tokio::time::sleep(app.limits.arrival))
    }

    fn take_in(&mut self, data: &[u8]) -> Result<(), ServeError> {
        self.framing.pass(data, self.app.limits.body)?;
        self.arrived.grow(&self.app, data.len())?;
        if self.is_stream {
            self.late = match self.late.take() {
                _ if self.framing.is_between() => None,
                None => Some(Self::late(&self.app)),
                late => late,
            };
        }
        Ok(())
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                let taken = this.take_in(data).map_err(Status::from);
                Poll::Ready(Some(taken.map(|()| frame)))
            }
            Poll::Ready(Some(Err(_))) => {
                Poll::Ready(Some(Err(Status::cancelled("the request breaks off"))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(late) = &mut this.late else { return Poll::Pending };
                std::task::ready!(late.as_mut().poll(cx));
                let seconds = this.app.limits.arrival.as_secs();
                Poll::Ready(Some(Err(ServeError::Slow { seconds }.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let message = |n: u8| [&[0, 0, 0, 0, n][..], &vec![7; n.into()]].concat();
        let all = [message(3), message(0), message(9)].concat();
        for piece in 1..all.len() {
            let mut framing = Framing::default();
            for (number, data) in all.chunks(piece).enumerate() {
                framing.pass(data, 9).unwrap();
                let end = (number * piece + data.len()).min(all.len());
                assert_eq!(framing.is_between(), [8, 13, 27].contains(&end), "{piece} {end}");
            }
        }
        let refused = Framing::default().pass(&message(10), 9).unwrap_err();
        assert!(refused.to_string().contains("10 bytes, expected at most 9"), "{refused}");
        assert!(Framing::default().pass(&[0, 255, 255, 255, 255], 9).is_err());
    }
}
