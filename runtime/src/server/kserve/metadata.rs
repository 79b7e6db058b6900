//! What the server and its models are.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json as value};

use super::{EXTENSIONS, datatype};
use crate::server::app::{App, Target};
use crate::server::error::json;
use crate::server::served::Served;
use crate::server::watch::DRAWS;
use crate::server::{ServeError, demo};

/// What kind of model it is, in Triton's words.
pub(in crate::server) const PLATFORM: &str = "onnxruntime_onnx";

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<i64>,
}

/// `GET /v2`
pub(super) async fn server() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    json(&value!({ "name": "rift-runtime", "version": version, "extensions": EXTENSIONS }))
}

/// `GET /v2/models/{model}[/versions/{version}]`
pub(super) async fn model(
    State(app): State<Arc<App>>,
    target: Target,
) -> Result<Response, ServeError> {
    let served = app.registry.find(&target.model, target.version.as_deref())?;
    let versions: Vec<String> =
        app.registry.ready_versions(&target.model).iter().map(u64::to_string).collect();
    let (input, output) = tensors(&served);
    Ok(json(&value!({
        "name": served.name(),
        "versions": versions,
        "platform": PLATFORM,
        "inputs": [input],
        "outputs": [output],
        "parameters": parameters(&app, &served),
    })))
}

/// `GET /v2/models/{model}[/versions/{version}]/config`
pub(super) async fn config(
    State(app): State<Arc<App>>,
    target: Target,
) -> Result<Response, ServeError> {
    let served = app.registry.find(&target.model, target.version.as_deref())?;
    let classifier = served.classifier();
    Ok(json(&value!({
        "name": served.name(),
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": { "latest": { "num_versions": 1 } },
        // Requests may hold more; they go through the model in several runs.
        "max_batch_size": classifier.batch(served.serving().batch),
        "input": [{
            "name": classifier.input_name(),
            "data_type": datatype::in_config(classifier.element()),
            "dims": classifier.dims(),
        }],
        "output": [{
            "name": classifier.output_name(),
            "data_type": format!("TYPE_{}", datatype::LOGITS),
            "dims": [classifier.classes()],
        }],
        "instance_group": [{ "kind": "KIND_CPU", "count": served.serving().threads }],
        "dynamic_batching": { "max_queue_delay_microseconds": 0 },
    })))
}

/// How its inputs are watched, and how far they may be attacked on demand.
fn parameters(app: &App, served: &Served) -> Value {
    let watch = served.watch();
    let mut parameters = value!({
        "rift_norm": watch.noise.norm,
        "rift_eps": watch.noise.eps,
        "rift_draws": DRAWS,
        "rift_false_alarm_rate": watch.watching.false_alarms,
    });
    if app.limits.attacks > 0 {
        parameters["rift_largest_eps"] = value!(demo::largest(watch.noise.norm));
    }
    match watch.threshold() {
        None => {}
        Some(Ok(threshold)) => {
            parameters["rift_threshold"] = value!(threshold.value);
            parameters["rift_threshold_rate"] = value!(threshold.rate);
        }
        Some(Err(reason)) => parameters["rift_no_threshold"] = value!(reason),
    }
    parameters
}

/// What a model takes and gives; any number of images, also where the file insists on one.
fn tensors(served: &Served) -> (Tensor<'_>, Tensor<'_>) {
    let classifier = served.classifier();
    let dims = classifier.dims().map(|d| d as i64);
    let input = Tensor {
        name: classifier.input_name(),
        datatype: datatype::name(classifier.element()),
        shape: [&[-1], &dims[..]].concat(),
    };
    let output = Tensor {
        name: classifier.output_name(),
        datatype: datatype::LOGITS,
        shape: vec![-1, classifier.classes() as i64],
    };
    (input, output)
}
