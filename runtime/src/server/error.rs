//! What a request can come to instead of an answer, and the status that says so.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::session::SessionError;

/// Why a request is not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServeError {
    /// The request is not what the protocol says.
    #[error("{what}")]
    Invalid {
        /// What is wrong, with what was expected and what was found.
        what: String,
    },
    /// There is nothing of that name.
    #[error("{what}")]
    NotFound {
        /// What is not there.
        what: String,
    },
    /// The path is there, but not for this method.
    #[error("this path does not take the request's method")]
    Method,
    /// The request carries no token, or another one.
    #[error("expected a valid token in the header `Authorization: Bearer …`")]
    Unauthorized,
    /// The request comes from where none is expected.
    #[error("{what}")]
    Forbidden {
        /// What is wrong with it.
        what: String,
    },
    /// More than the server takes.
    #[error("{what}")]
    TooLarge {
        /// What is too large, and the limit.
        what: String,
    },
    /// The body is of a type or in an encoding that is not understood.
    #[error("{what}")]
    MediaType {
        /// The type that was found and those that are expected.
        what: String,
    },
    /// The body did not arrive in time.
    #[error("the request's body did not arrive within {seconds} s")]
    Slow {
        /// The limit.
        seconds: u64,
    },
    /// The queue is full.
    #[error("model `{model}` is overloaded, try again later")]
    Busy {
        /// The model.
        model: String,
    },
    /// Another attack on demand is under way.
    #[error("another attack on demand is under way, try again later")]
    Occupied,
    /// The protocol has it, this server not.
    #[error("{what}")]
    Unsupported {
        /// What is not supported.
        what: String,
    },
    /// The model, or the server, is not ready.
    #[error("{what}")]
    Unavailable {
        /// Why not.
        what: String,
    },
    /// The deadline has passed.
    #[error("the deadline has passed: no answer within {milliseconds} ms")]
    Deadline {
        /// The time that the request had.
        milliseconds: u64,
    },
    /// The model failed while it ran.
    #[error("the model failed: {0}")]
    Failed(#[source] Arc<SessionError>),
    /// The model's answer has no form in JSON.
    #[error(
        "the model's logits are not all finite, which numbers in JSON are, expected a request for \
             binary data"
    )]
    NotFinite,
    /// The server is at fault.
    #[error("internal error")]
    Internal,
}

/// The shape of an error in the protocol.
#[derive(Serialize)]
struct Shape {
    error: String,
}

impl ServeError {
    /// A request that is not what the protocol says.
    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// The status of HTTP that says so.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Busy { .. } | Self::Occupied => StatusCode::TOO_MANY_REQUESTS,
            Self::Unsupported { .. } => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Failed(_) | Self::NotFinite | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl ServeError {
    /// Says what happened, loudly if the server is at fault.
    pub(super) fn log(&self) {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), "{self}");
        } else {
            tracing::debug!(status = status.as_u16(), "{self}");
        }
    }
}

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let mut response = json(&Shape { error: self.to_string() });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        match self {
            Self::Busy { .. } | Self::Occupied => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the body is not read.
            Self::TooLarge { .. } | Self::Slow { .. } => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// Refuses logits that JSON would hold as `null`.
pub(super) fn finite<'l>(logits: impl IntoIterator<Item = &'l f32>) -> Result<(), ServeError> {
    let is_finite = logits.into_iter().all(|logit| logit.is_finite());
    if is_finite { Ok(()) } else { Err(ServeError::NotFinite) }
}

/// `value` as a response in JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
