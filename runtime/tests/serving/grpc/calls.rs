//! A client of gRPC that knows no more than paths and messages.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rift_runtime::server::grpc_messages::ModelInferRequest;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The service of the protocol.
pub(super) const INFERENCE: &str = "inference.GRPCInferenceService";
/// gRPC's own.
pub(super) const HEALTH: &str = "grpc.health.v1.Health";

/// A connection that carries calls.
pub(super) struct Calls {
    runtime: Runtime,
    channel: Channel,
    packing: Option<CompressionEncoding>,
}

/// What becomes of a call.
pub(super) type Called<A> = JoinHandle<Result<Response<A>, Status>>;

impl Calls {
    /// To `address`, in the clear.
    pub(super) fn to(address: SocketAddr) -> Self {
        Self::named(address, &format!("http://{address}"))
    }

    /// To `address`, which is called by another name.
    pub(super) fn named(address: SocketAddr, name: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let endpoint = endpoint.origin(name.parse().unwrap());
        Self::with(|| endpoint.connect_lazy())
    }

    /// The same with packed messages.
    pub(super) fn packing(self, encoding: CompressionEncoding) -> Self {
        Self { packing: Some(encoding), ..self }
    }

    /// To `address`, encrypted.
    pub(super) fn encrypted(address: SocketAddr, mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = Tls { address, connector: Arc::new(config).into() };
        let endpoint = Endpoint::from_static("http://localhost");
        Self::with(|| endpoint.connect_with_connector_lazy(tls))
    }

    fn with(connect: impl FnOnce() -> Channel) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let channel = runtime.block_on(async { connect() });
        Self { runtime, channel, packing: None }
    }

    /// Calls `method` of the protocol, and waits.
    pub(super) fn call<Q, A>(&self, method: &str, message: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.send(&format!("/{INFERENCE}/{method}"), Request::new(message))
            .map(Response::into_inner)
    }

    /// Sends a request to a path, and waits.
    pub(super) fn send<Q, A>(&self, path: &str, request: Request<Q>) -> Result<Response<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let called = self.begin(path, request);
        self.wait(called)
    }

    /// Sends a request to a path.
    pub(super) fn begin<Q, A>(&self, path: &str, request: Request<Q>) -> Called<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        if let Some(encoding) = self.packing {
            client = client.send_compressed(encoding);
        }
        let path: PathAndQuery = path.parse().unwrap();
        self.runtime.spawn(async move {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            client.unary(request, path, ProstCodec::default()).await
        })
    }

    /// What became of a call.
    pub(super) fn wait<A>(&self, called: Called<A>) -> Result<Response<A>, Status> {
        self.runtime.block_on(called).unwrap()
    }

    /// Opens a stream of requests, which come from `messages`.
    pub(super) fn stream<A>(
        &self,
        path: &str,
        messages: tokio::sync::mpsc::Receiver<ModelInferRequest>,
    ) -> Result<Streaming<A>, Status>
    where
        A: Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        let path: PathAndQuery = path.parse().unwrap();
        let messages = Box::pin(futures_util::stream::unfold(messages, async |mut messages| {
            Some((messages.recv().await?, messages))
        }));
        self.runtime.block_on(async move {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let request = Request::new(messages);
            let answers = client.streaming(request, path, ProstCodec::default()).await?;
            Ok(answers.into_inner())
        })
    }

    /// Calls what answers with a stream.
    pub(super) fn watch<Q, A>(&self, path: &str, message: Q) -> Streaming<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        let path: PathAndQuery = path.parse().unwrap();
        self.runtime.block_on(async move {
            client.ready().await.unwrap();
            let request = Request::new(message);
            client
                .server_streaming(request, path, ProstCodec::default())
                .await
                .unwrap()
                .into_inner()
        })
    }

    /// The next message of a stream, if there is one.
    pub(super) fn next<A>(&self, answers: &mut Streaming<A>) -> Result<Option<A>, Status> {
        self.runtime.block_on(answers.message())
    }
}

/// Sends a request by a client that says how long it waits and then waits for ever.
pub(super) fn impatient<Q, A>(
    address: SocketAddr,
    path: &str,
    request: Request<Q>,
) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let path: PathAndQuery = path.parse().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let origin = Uri::from_static("http://localhost");
        let mut client = tonic::client::Grpc::with_origin(Plain(sender), origin);
        client.ready().await.unwrap();
        client.unary(request, path, ProstCodec::default()).await.map(Response::into_inner)
    })
}

/// HTTP/2 without a thought of gRPC.
struct Plain(http2::SendRequest<tonic::body::Body>);

impl Service<http::Request<tonic::body::Body>> for Plain {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Connects with encryption.
#[derive(Clone)]
struct Tls {
    address: SocketAddr,
    connector: TlsConnector,
}

impl Service<Uri> for Tls {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send + 'static>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, connector } = self.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let name = "localhost".try_into().unwrap();
            Ok(TokioIo::new(connector.connect(name, stream).await?))
        })
    }
}
