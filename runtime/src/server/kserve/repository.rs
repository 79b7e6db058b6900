//! The repository extension: what is there, load, unload.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::server::app::{App, Target};
use crate::server::error::json;
use crate::server::registry::{self, Refused};
use crate::server::{ServeError, body};

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    ready: bool,
}

#[derive(Deserialize)]
struct Loading {
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
}

/// A version of a model.
#[derive(Serialize)]
pub(in crate::server) struct Line {
    pub(in crate::server) name: String,
    pub(in crate::server) version: String,
    pub(in crate::server) state: &'static str,
    pub(in crate::server) reason: String,
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
    Ok(json(&lines(&app, wanted.ready)))
}

/// The index, or what of it is ready.
pub(in crate::server) fn lines(app: &App, only_ready: bool) -> Vec<Line> {
    let listed = app.registry.index().into_iter();
    let wanted =
        listed.filter(|listed| !only_ready || matches!(listed.state, registry::State::Ready(_)));
    let line = |listed: registry::Listed| {
        let (state, reason) = match listed.state {
            registry::State::Ready(_) => ("READY", String::new()),
            registry::State::Loading => ("LOADING", String::new()),
            registry::State::Unavailable(reason) => ("UNAVAILABLE", reason),
            registry::State::Unloaded => ("UNAVAILABLE", "unloaded".to_owned()),
        };
        Line { name: listed.name, version: listed.version.to_string(), state, reason }
    };
    wanted.map(line).collect()
}

/// `POST /v2/repository/models/{model}/load`: answers when the model is served, or says why not.
pub(super) async fn load(
    State(app): State<Arc<App>>,
    target: Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let content = body::read(&app, &headers, body).await?;
    if !content.bytes.is_empty() {
        let loading: Loading = serde_json::from_slice(&content.bytes).map_err(|error| {
            ServeError::invalid(format!("expected `{{\"parameters\": {{}}}}` or nothing: {error}"))
        })?;
        as_it_is(loading.parameters.keys())?;
    }
    opened(app, target.model).await?;
    Ok(StatusCode::OK.into_response())
}

/// Refuses to load a model in another way than it lies there.
pub(in crate::server) fn as_it_is<'n>(
    mut parameters: impl Iterator<Item = &'n String>,
) -> Result<(), ServeError> {
    let Some(name) = parameters.next() else { return Ok(()) };
    let what = format!("parameter `{name}` is not supported, models are opened as they are");
    Err(ServeError::Unsupported { what })
}

/// `POST /v2/repository/models/{model}/unload`
pub(super) async fn unload(
    State(app): State<Arc<App>>,
    target: Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    body::read(&app, &headers, body).await?;
    unloaded(app, target.model).await?;
    Ok(StatusCode::OK.into_response())
}

/// Opens a model anew, until it is served.
pub(in crate::server) async fn opened(app: Arc<App>, model: String) -> Result<(), ServeError> {
    let loading = Arc::clone(&app.loading);
    let turn = loading.acquire_owned().await.map_err(|_| ServeError::Internal)?;
    blocking(move || {
        let done = app.load(&model);
        // Who asked may have gone: the turn ends with the work.
        drop(turn);
        done
    })
    .await
}

/// Serves a model no more.
pub(in crate::server) async fn unloaded(app: Arc<App>, model: String) -> Result<(), ServeError> {
    blocking(move || app.registry.unload(&model)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<(), Refused> + Send + 'static,
) -> Result<(), ServeError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| ServeError::Internal)?;
    done.map_err(|refused| match refused {
        Refused::Unknown { .. } => ServeError::NotFound { what: refused.to_string() },
        Refused::Withdrawn(_) => ServeError::Unavailable { what: refused.to_string() },
        refused => ServeError::invalid(registry::in_one_line(&refused)),
    })
}
