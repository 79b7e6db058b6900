//! `POST /v2/models/{model}[/versions/{version}]/infer`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::head;
use super::reply::reply;
use crate::server::app::{App, Target};
use crate::server::{ServeError, body};

pub(super) async fn infer(
    State(app): State<Arc<App>>,
    target: Target,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let served = match app.admit(&target.model, target.version.as_deref()) {
        Ok(served) => served,
        Err(error) => {
            body::discard(&app, body).await;
            return Err(error);
        }
    };
    let content = body::read(&app, &headers, body).await?;
    let asked = served.counting(head::Body::read(&headers, &content.bytes, served.classifier()))?;
    let head::Body { id, is_binary, request } = asked;
    let classes = request.classes;
    let (logits, seen) = request.logits(&app, &served).await?;
    reply(&served, id.as_deref(), (is_binary, classes), (&logits, seen.as_deref()))
}
