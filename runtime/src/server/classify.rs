//! `POST /v1/classify`: pictures in, classes out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use ndarray::ArrayView1;
use rift_models::artifact::Digest;
use serde::{Deserialize, Serialize};

use super::app::{App, Route};
use super::error::{finite, json};
use super::watch::{self, Parameter, parameters};
use super::{ServeError, body, pictures};
use crate::prediction::{Prediction, rank};

/// The most pictures in one request.
const MOST: usize = 64;

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    version: Option<String>,
    top: Option<usize>,
    #[serde(default)]
    rift_margin: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a Digest,
    model_name: &'a str,
    model_version: String,
    images: Vec<Picture>,
}

#[derive(Serialize)]
struct Picture {
    path: String,
    predictions: Vec<Prediction>,
    #[serde(flatten)]
    seen: BTreeMap<&'static str, Parameter>,
}

/// The path.
pub(super) fn routes() -> Vec<Route> {
    vec![("/v1/classify", post(classify))]
}

async fn classify(
    State(app): State<Arc<App>>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let content = body::read(&app, &headers, body).await?;
    let Query(asked) = asked.map_err(|error| ServeError::invalid(error.body_text()))?;
    let model = named(&app, asked.model)?;
    let served = app.admit(&model, asked.version.as_deref())?;
    let named = served.counting(files(&headers, content.bytes.clone()).await)?;
    let (paths, files): (Vec<String>, Vec<Bytes>) = named.into_iter().unzip();
    let n = files.len();
    let images = served.counting(pictures::decode(&app, &served, files).await)?;
    let wanted = (app.limits.answer, asked.rift_margin);
    let (answer, seen) = watch::infer(&app, &served, (images.bytes.clone(), n), wanted).await?;
    finite(&answer.logits)?;
    let classifier = served.classifier();
    let top = asked.top.unwrap_or(usize::MAX).max(1);
    let picture = |(number, (path, logits)): (usize, (String, &[f32]))| {
        let mut predictions = rank(classifier, &ArrayView1::from(logits));
        predictions.truncate(top);
        let seen = seen.as_ref().and_then(|seen| seen.get(number..=number));
        Picture { path, predictions, seen: seen.into_iter().flat_map(parameters).collect() }
    };
    Ok(json(&Report {
        model: classifier.digest(),
        model_name: served.name(),
        model_version: served.version().to_string(),
        images: paths
            .into_iter()
            .zip(answer.logits.chunks_exact(classifier.classes()))
            .enumerate()
            .map(picture)
            .collect(),
    }))
}

/// The model that is asked for, the only one where none is named.
pub(super) fn named(app: &App, model: Option<String>) -> Result<String, ServeError> {
    let only = || {
        let what = "several models are served, expected `?model=NAME`";
        app.registry.only().ok_or_else(|| ServeError::invalid(what))
    };
    model.map_or_else(only, Ok)
}

/// The files of a form with their names, or the body as one file.
pub(super) async fn files(
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Vec<(String, Bytes)>, ServeError> {
    let kind = headers.get(header::CONTENT_TYPE);
    let is_form = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/form-data"));
    if !is_form {
        if body.is_empty() {
            return Err(ServeError::invalid("expected a PNG or JPEG as body, found nothing"));
        }
        return Ok(vec![(String::new(), body)]);
    }
    let mut request = Request::new(Body::from(body));
    request.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind.clone())));
    let bad = |error: &dyn std::fmt::Display| ServeError::invalid(format!("the form: {error}"));
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| bad(&e.body_text()))?;
    let mut files = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|e| bad(&e.body_text()))? {
        let name = field.file_name().or(field.name()).unwrap_or_default().to_owned();
        files.push((name, field.bytes().await.map_err(|e| bad(&e.body_text()))?));
        if files.len() > MOST {
            let what = format!("the form has more than {MOST} pictures");
            return Err(ServeError::TooLarge { what });
        }
    }
    if files.is_empty() {
        return Err(ServeError::invalid("the form has no picture"));
    }
    Ok(files)
}
