//! The Open Inference Protocol over gRPC, with Triton's extensions, and gRPC's health service.
//!
//! Only what is written differs from HTTP: a call becomes the same request, and passes the same door,
//! limits, queue and counters.

mod arrival;
mod codec;
mod connection;
mod contents;
mod describe;
mod health;
mod infer;
#[allow(missing_docs, clippy::pedantic, reason = "generated")]
#[path = "generated/proto.rs"]
pub mod proto;
mod service;
mod statistics;
mod status;
mod structure;

use std::sync::Arc;

use arrival::{Arrived, Arriving};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use health::Readiness;
use proto::grpc_inference_service_server::{GrpcInferenceServiceServer, SERVICE_NAME};
use service::Inference;
use tonic::Status;
use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic_health::pb::health_server::{self, HealthServer};

pub(super) use connection::converse;

use super::ServeError;
use super::app::App;
use super::door::{Door, admit};

/// Both services, behind `door`.
pub(super) fn router(app: &Arc<App>, door: &Arc<Door>) -> Router {
    let limit = app.limits.body;
    let inference = GrpcInferenceServiceServer::new(Inference { app: Arc::clone(app) })
        .max_decoding_message_size(limit)
        .accept_compressed(Gzip)
        .accept_compressed(Deflate);
    let health = HealthServer::new(Readiness { app: Arc::clone(app) });
    let guard = middleware::from_fn_with_state((Arc::clone(door), Arc::clone(app)), guard);
    Router::new()
        .route_service(&format!("/{SERVICE_NAME}/{{call}}"), inference)
        .route_service(&format!("/{}/{{call}}", health_server::SERVICE_NAME), health)
        .fallback(nothing)
        .layer(guard)
}

async fn nothing() -> Response {
    refusal(ServeError::Unsupported { what: "there is no such service".to_owned() })
}

/// Lets through who may come in, and holds what they send within limits.
async fn guard(
    State((door, app)): State<(Arc<Door>, Arc<App>)>,
    request: Request,
    next: Next,
) -> Response {
    let (service, call) =
        request.uri().path().trim_start_matches('/').split_once('/').unwrap_or_default();
    // Probes come without a token, and learn nothing but yes and no.
    let is_probe = match service {
        SERVICE_NAME => matches!(call, "ServerLive" | "ServerReady"),
        service => service == health_server::SERVICE_NAME,
    };
    let is_stream = call == "ModelStreamInfer";
    if let Err(refused) = admit(&door, &request, is_probe) {
        return refusal(refused);
    }
    let (mut parts, body) = request.into_parts();
    let arrived = Arrived::default();
    parts.extensions.insert(arrived.clone());
    let body = Body::new(Arriving::new(body, app, arrived, is_stream));
    next.run(Request::from_parts(parts, body)).await
}

fn refusal(error: ServeError) -> Response {
    Status::from(error).into_http::<Body>().into_response()
}
