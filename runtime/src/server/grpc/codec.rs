//! Messages to bytes and back.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use tonic::Status;
use tonic::codec::{DecodeBuf, EncodeBuf};

use super::structure;

/// What writes messages of one type and reads those of another.
#[derive(Debug)]
pub(super) struct Codec<T, U>(PhantomData<(T, U)>);

/// Writes messages.
#[derive(Debug)]
pub(super) struct Encoder<T>(PhantomData<T>);

/// Reads messages, if they are no more than they say.
#[derive(Debug)]
pub(super) struct Decoder<U>(PhantomData<U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(PhantomData)
    }
}

impl<T: Message> tonic::codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written");
            Status::internal("internal error")
        })
    }
}

impl<U: Message + Default> tonic::codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bad = |what: &dyn std::fmt::Display| {
            Status::invalid_argument(format!("the request is not what the protocol says: {what}"))
        };
        // The whole message lies in one piece.
        structure::check(from.chunk()).map_err(|error| bad(&error))?;
        U::decode(from).map(Some).map_err(|error| bad(&error))
    }
}
