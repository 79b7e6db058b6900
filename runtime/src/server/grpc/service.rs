//! The calls of the protocol.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::arrival::Arrived;
use super::infer::{infer, timeout, version};
use super::proto::grpc_inference_service_server::GrpcInferenceService;
use super::proto::infer_parameter::ParameterChoice;
use super::proto::repository_index_response::ModelIndex;
use super::proto::{
    InferParameter, ModelConfigRequest, ModelConfigResponse, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ModelStatisticsRequest, ModelStatisticsResponse, ModelStreamInferResponse,
    RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelLoadRequest,
    RepositoryModelLoadResponse, RepositoryModelUnloadRequest, RepositoryModelUnloadResponse,
    ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
};
use super::{describe, statistics};
use crate::server::app::App;
use crate::server::body::Room;
use crate::server::kserve::{EXTENSIONS, repository};

/// The requests of one stream that are under way at once.
const AHEAD: usize = 32;

type Answer<T> = Result<Response<T>, Status>;

/// What answers the calls.
#[derive(Debug)]
pub(super) struct Inference {
    pub(super) app: Arc<App>,
}

/// What a call to a stream gives.
type Answers = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    type ModelStreamInferStream = Answers;

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        Ok(Response::new(ServerReadyResponse { ready: self.app.is_ready().is_ok() }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ModelReadyRequest { name, version: number } = request.into_inner();
        let ready = self.app.registry.find(&name, version(&number)).is_ok();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Answer<ServerMetadataResponse> {
        Ok(Response::new(ServerMetadataResponse {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Answer<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version: number } = request.into_inner();
        let served = self.app.registry.find(&name, version(&number))?;
        let versions = self.app.registry.ready_versions(&name);
        Ok(Response::new(describe::metadata(&served, &versions)))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let within = timeout(request.metadata())?;
        let room = arrived(&request).take();
        let answer = infer(&self.app, request.into_inner(), room, within).await?;
        Ok(Response::new(answer))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Answers> {
        let arrived = arrived(&request);
        let app = Arc::clone(&self.app);
        let closing = {
            let app = Arc::clone(&app);
            async move { app.closing().await }
        };
        let answers = request
            .into_inner()
            .take_until(Box::pin(closing))
            .map(move |message| {
                let (app, room) = (Arc::clone(&app), arrived.take());
                async move { Ok(one_of_many(&app, message?, room).await) }
            })
            // In the order in which they were asked for.
            .buffered(AHEAD);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Answer<ModelConfigResponse> {
        let ModelConfigRequest { name, version: number } = request.into_inner();
        let served = self.app.registry.find(&name, version(&number))?;
        let config = Some(describe::config(&served));
        Ok(Response::new(ModelConfigResponse { config }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version: number } = request.into_inner();
        let registry = &self.app.registry;
        let model_stats = if name.is_empty() {
            let of = |listed: &_| statistics::of_ready(listed);
            registry.index().iter().filter_map(of).collect()
        } else {
            let served = registry.find(&name, version(&number))?;
            vec![statistics::of(&served)]
        };
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let lines = repository::lines(&self.app, request.into_inner().ready);
        let model = |line: repository::Line| ModelIndex {
            name: line.name,
            version: line.version,
            state: line.state.to_owned(),
            reason: line.reason,
        };
        Ok(Response::new(RepositoryIndexResponse {
            models: lines.into_iter().map(model).collect(),
        }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let RepositoryModelLoadRequest { model_name, parameters, .. } = request.into_inner();
        repository::as_it_is(parameters.keys())?;
        repository::opened(Arc::clone(&self.app), model_name).await?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        repository::unloaded(Arc::clone(&self.app), request.into_inner().model_name).await?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }
}

/// The room of what the call has sent; the door puts it there.
fn arrived<T>(request: &Request<T>) -> Arrived {
    request.extensions().get().cloned().unwrap_or_default()
}

/// The answer to one request of a stream, which goes on where it is an error.
async fn one_of_many(
    app: &App,
    message: ModelInferRequest,
    room: Room,
) -> ModelStreamInferResponse {
    let nothing = ModelInferResponse {
        model_name: message.model_name.clone(),
        model_version: message.model_version.clone(),
        id: message.id.clone(),
        ..ModelInferResponse::default()
    };
    match infer(app, message, room, None).await {
        Ok(mut answer) => {
            // Some models of Triton's answer a request several times; its clients ask which is the last.
            let yes = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
            answer.parameters.insert("triton_final_response".to_owned(), yes);
            let error_message = String::new();
            ModelStreamInferResponse { error_message, infer_response: Some(answer) }
        }
        Err(error) => {
            error.log();
            let error_message = error.to_string();
            ModelStreamInferResponse { error_message, infer_response: Some(nothing) }
        }
    }
}
