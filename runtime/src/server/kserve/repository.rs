//! The repository extension: what is there, load, unload.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::server::app::{App, Target};
use crate::server::error::json;
use crate::server::registry::{self, Refused};
use crate::server::{ServeError, body};

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    ready: bool,
}

#[derive(Serialize)]
struct Line {
    name: String,
    version: String,
    state: &'static str,
    reason: String,
}

/// `POST /v2/repository/index`
pub(super) async fn index(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let content = body::read(&app, &headers, body).await?;
    let wanted: Wanted = match &content.bytes[..] {
        b"" => Wanted { ready: false },
        text => serde_json::from_slice(text).map_err(|error| {
            ServeError::invalid(format!("expected `{{\"ready\": true|false}}`: {error}"))
        })?,
    };
    let lines: Vec<Line> = app
        .registry
        .index()
        .into_iter()
        .filter(|listed| !wanted.ready || matches!(listed.state, registry::State::Ready(_)))
        .map(|listed| {
            let (state, reason) = match listed.state {
                registry::State::Ready(_) => ("READY", String::new()),
                registry::State::Loading => ("LOADING", String::new()),
                registry::State::Unavailable(reason) => ("UNAVAILABLE", reason),
                registry::State::Unloaded => ("UNAVAILABLE", "unloaded".to_owned()),
            };
            Line { name: listed.name, version: listed.version.to_string(), state, reason }
        })
        .collect();
    Ok(json(&lines))
}

/// `POST /v2/repository/models/{model}/load`: answers when the model is served, or says why not.
pub(super) async fn load(
    State(app): State<Arc<App>>,
    target: Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    body::read(&app, &headers, body).await?;
    blocking(move || app.load(&target.model)).await
}

/// `POST /v2/repository/models/{model}/unload`
pub(super) async fn unload(
    State(app): State<Arc<App>>,
    target: Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    body::read(&app, &headers, body).await?;
    blocking(move || app.registry.unload(&target.model)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<(), Refused> + Send + 'static,
) -> Result<Response, ServeError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| ServeError::Internal)?;
    match done {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(refused @ Refused::Unknown { .. }) => {
            Err(ServeError::NotFound { what: refused.to_string() })
        }
        Err(refused) => Err(ServeError::invalid(registry::in_one_line(&refused))),
    }
}
