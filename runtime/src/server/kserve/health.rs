//! Whether the server lives, and whether it and its models are ready.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::server::ServeError;
use crate::server::app::{App, Target};
use crate::server::door::Known;
use crate::server::error::json;

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ModelReady {
    name: String,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `GET /v2/health/live`
pub(super) async fn live() -> Response {
    json(&Live { live: true })
}

/// `GET /v2/health/ready`: 503 while it is not, and the reason for those who have come in.
pub(super) async fn ready(
    State(app): State<Arc<App>>,
    known: Option<Extension<Known>>,
) -> Response {
    let error = app.is_ready().err();
    let ready = error.is_none();
    // It names models, their files and what they withstand.
    let error = error.filter(|_| known.is_some());
    with_status(json(&Ready { ready, error }), ready)
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`: 503 and the reason while it is not.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    target: Target,
) -> Result<Response, ServeError> {
    let found = app.registry.find(&target.model, target.version.as_deref());
    let error = match found {
        Ok(_) => None,
        Err(ServeError::Unavailable { what }) => Some(what),
        Err(error) => return Err(error),
    };
    let ready = error.is_none();
    Ok(with_status(json(&ModelReady { name: target.model, ready, error }), ready))
}

fn with_status(mut response: Response, is_ready: bool) -> Response {
    if !is_ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
