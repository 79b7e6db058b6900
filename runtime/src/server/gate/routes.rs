//! `GET /v1/audit`: what the gate found.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rift_models::artifact::{Interval, Threat};
use serde::Serialize;

use super::{Audited, Audits};
use crate::audit::html::{self, Surroundings};
use crate::server::ServeError;
use crate::server::app::{App, Route, Target};
use crate::server::error::json;

/// The report has no script, and lengths of bars in its markup.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";

#[derive(Serialize)]
struct List {
    /// Robust accuracy that is asked for; null where there is no gate.
    minimum: Option<f64>,
    audits: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    model_name: String,
    model_version: String,
    /// Whether the version is served; else it was refused, or is not served yet.
    served: bool,
    passed: bool,
    /// Seconds since 1970, UTC.
    at: u64,
    age_seconds: f64,
    seconds: f64,
    n: usize,
    clean_accuracy: f64,
    robust_accuracy: f64,
    interval: Interval,
    threat: Threat,
    attacks: Vec<String>,
    warnings: Vec<String>,
}

/// The paths.
pub(in crate::server) fn routes() -> Vec<Route> {
    vec![
        ("/v1/audit", get(list)),
        ("/v1/audit/{model}", get(newest)),
        ("/v1/audit/{model}/report", get(page)),
    ]
}

async fn list(State(app): State<Arc<App>>) -> Response {
    let audits = app.registry.audits();
    let all = audits.map_or_else(Vec::new, Audits::all);
    json(&List {
        minimum: audits.map(Audits::minimum),
        audits: all.into_iter().map(|audit| line(&app, audit)).collect(),
    })
}

/// The whole report of a model's newest version that is served, or was refused if none is, as `audit.json` has it.
async fn newest(State(app): State<Arc<App>>, target: Target) -> Result<Response, ServeError> {
    Ok(json(&last(&app, &target.model)?.report))
}

/// The same for people, as `audit.html` has it.
async fn page(State(app): State<Arc<App>>, target: Target) -> Result<Response, ServeError> {
    let audited = last(&app, &target.model)?;
    let served = app.registry.find(&target.model, None).ok();
    let classes = served.and_then(|served| Some(served.classifier().class_names()?.to_vec()));
    let around = Surroundings { classes: classes.unwrap_or_default(), exhibits: Vec::new() };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    Ok((headers, html::page(&audited.report, &around)).into_response())
}

fn last(app: &App, model: &str) -> Result<Arc<Audited>, ServeError> {
    let audits = app.registry.audits().map_or_else(Vec::new, Audits::all);
    let of = || audits.iter().rev().filter(|((name, _), _)| name == model);
    let newest = of().find(|(key, _)| is_served(app, key)).or_else(|| of().next());
    let none = || ServeError::NotFound { what: format!("there is no audit of a model `{model}`") };
    newest.map(|(_, audited)| Arc::clone(audited)).ok_or_else(none)
}

fn is_served(app: &App, (name, version): &(String, u64)) -> bool {
    app.registry.find(name, Some(&version.to_string())).is_ok()
}

fn line(app: &App, (model, audited): ((String, u64), Arc<Audited>)) -> Line {
    let report = &audited.report;
    let served = is_served(app, &model);
    let (name, version) = model;
    Line {
        model_name: name,
        model_version: version.to_string(),
        served,
        passed: audited.passed,
        at: audited.at.duration_since(UNIX_EPOCH).map_or(0, |at| at.as_secs()),
        age_seconds: audited.age(),
        seconds: audited.seconds,
        n: report.n,
        clean_accuracy: report.clean_accuracy,
        robust_accuracy: report.robust_accuracy,
        interval: report.interval,
        threat: report.threat.clone(),
        attacks: report.attacks.iter().map(|attack| attack.name.clone()).collect(),
        warnings: report.warnings.clone(),
    }
}
