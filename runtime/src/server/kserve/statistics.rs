//! The statistics extension.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json as value};

use crate::server::ServeError;
use crate::server::app::{App, Target};
use crate::server::error::json;
use crate::server::registry;
use crate::server::served::Served;

/// `GET /v2/models/stats`
pub(super) async fn all(State(app): State<Arc<App>>) -> Response {
    let stats: Vec<Value> = app
        .registry
        .index()
        .iter()
        .filter_map(|listed| match &listed.state {
            registry::State::Ready(served) => Some(of(served)),
            _ => None,
        })
        .collect();
    json(&value!({ "model_stats": stats }))
}

/// `GET /v2/models/{model}[/versions/{version}]/stats`
pub(super) async fn model(
    State(app): State<Arc<App>>,
    target: Target,
) -> Result<Response, ServeError> {
    let served = app.registry.find(&target.model, target.version.as_deref())?;
    Ok(json(&value!({ "model_stats": [of(&served)] })))
}

fn of(served: &Served) -> Value {
    let counts = served.counts();
    value!({
        "name": served.name(),
        "version": served.version().to_string(),
        "last_inference": counts.last_inference,
        "inference_count": counts.images,
        "execution_count": counts.runs,
        "inference_stats": counts.stages,
        "batch_stats": counts.batches.values().collect::<Vec<_>>(),
    })
}
