//! `POST /v2/models/{model}[/versions/{version}]/infer`

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::reply::reply;
use super::request::{Images, Request};
use crate::server::app::{App, Target};
use crate::server::{ServeError, body, pictures, watch};

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
    let request = served.counting(Request::read(&headers, &content.bytes, served.classifier()))?;
    let Request { id, within, images, n, wanted, watch } = request;
    let images = match images {
        Images::Tensor(tensor) => tensor,
        Images::Pictures(files) => served.counting(pictures::decode(&app, &served, files).await)?,
    };
    let within = within.map_or(app.limits.answer, |within| within.min(app.limits.answer));
    let (answer, seen) = watch::infer(&app, &served, (images, n), (within, watch)).await?;
    reply(&served, id.as_deref(), wanted, (&answer.logits, seen.as_deref()))
}
