//! gRPC's own health service: what balancers and probes ask.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::proto::grpc_inference_service_server::SERVICE_NAME;
use crate::server::app::App;

/// How often it is looked for those who want to be told.
const LOOK: Duration = Duration::from_millis(500);

/// Whether the server is ready, under the names that gRPC has for that.
#[derive(Debug)]
pub(super) struct Readiness {
    pub(super) app: Arc<App>,
}

#[tonic::async_trait]
impl Health for Readiness {
    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match status(&self.app, &request.into_inner().service) {
            ServingStatus::ServiceUnknown => {
                Err(Status::not_found(format!("unknown service, expected `{SERVICE_NAME}`")))
            }
            status => Ok(Response::new(response(status))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let next = |(app, service, last): (Arc<App>, String, Option<ServingStatus>)| async move {
            loop {
                // That the server ends was the last word.
                if app.is_ending() && last.is_some_and(|last| last != ServingStatus::Serving) {
                    return None;
                }
                let now = status(&app, &service);
                if Some(now) != last {
                    return Some((Ok(response(now)), (app, service, Some(now))));
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let changes = stream::unfold((Arc::clone(&self.app), service, None), next);
        Ok(Response::new(Box::pin(changes)))
    }
}

fn status(app: &App, service: &str) -> ServingStatus {
    match service {
        "" | SERVICE_NAME if app.is_ready().is_ok() => ServingStatus::Serving,
        "" | SERVICE_NAME => ServingStatus::NotServing,
        _ => ServingStatus::ServiceUnknown,
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
