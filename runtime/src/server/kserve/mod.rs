//! The Open Inference Protocol, version 2, over REST, with the extensions that its clients expect.

pub(super) mod binary;
pub(super) mod classification;
pub(super) mod datatype;
mod head;
mod health;
mod infer;
mod json;
pub(super) mod metadata;
mod reply;
pub(super) mod repository;
pub(super) mod request;
mod statistics;

use axum::http::HeaderMap;
use axum::routing::{get, post};

use super::app::Route;
use crate::session::Classifier;

/// The extensions that the server has, as its metadata names them.
pub(super) const EXTENSIONS: [&str; 5] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
];

/// How many images an inference request for `classifier` holds, if it is one; the first `head` bytes of
/// its body are JSON, all of them where nothing is said.
///
/// The door to the decoder for who holds it against damaged requests.
#[doc(hidden)]
pub fn images_in(classifier: &Classifier, head: Option<usize>, body: Vec<u8>) -> Option<usize> {
    let mut headers = HeaderMap::new();
    if let Some(head) = head {
        headers.insert(head::HEADER_LENGTH, head.into());
    }
    Some(head::Body::read(&headers, &body.into(), classifier).ok()?.request.n)
}

/// The paths of the protocol.
pub(super) fn routes() -> Vec<Route> {
    vec![
        ("/v2", get(metadata::server)),
        ("/v2/health/live", get(health::live)),
        ("/v2/health/ready", get(health::ready)),
        ("/v2/models/{model}", get(metadata::model)),
        ("/v2/models/{model}/versions/{version}", get(metadata::model)),
        ("/v2/models/{model}/ready", get(health::model)),
        ("/v2/models/{model}/versions/{version}/ready", get(health::model)),
        ("/v2/models/{model}/infer", post(infer::infer)),
        ("/v2/models/{model}/versions/{version}/infer", post(infer::infer)),
        ("/v2/models/{model}/config", get(metadata::config)),
        ("/v2/models/{model}/versions/{version}/config", get(metadata::config)),
        ("/v2/models/stats", get(statistics::all)),
        ("/v2/models/{model}/stats", get(statistics::model)),
        ("/v2/models/{model}/versions/{version}/stats", get(statistics::model)),
        ("/v2/repository/index", post(repository::index)),
        ("/v2/repository/models/{model}/load", post(repository::load)),
        ("/v2/repository/models/{model}/unload", post(repository::unload)),
    ]
}
