//! `rift-runtime serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use rift_models::signature::PublicKey;
use rift_models::zoo;
#[cfg(feature = "otel")]
use rift_runtime::server::Traces;
use rift_runtime::server::repository::Repository;
use rift_runtime::server::screen::{self, Screen};
use rift_runtime::server::{
    App, Entrance, Limits, Metrics, Registry, Repetition, Server, Serving, Signatory, Source,
    TlsFiles, Watching, name_of,
};
use rift_runtime::session::{Opening, Provider, library};
use tokio::signal::unix::{SignalKind, signal};

use super::gate::GateArgs;
use super::{Answer, seconds};
use crate::cli::{EngineArgs, Global, ReadingArgs, Spread, at_least_one, up_to_1024};

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Bundles, `.onnx` files or `zoo:NAME`, each `PATH` or `NAME=PATH`
    #[arg(value_name = "MODEL", required_unless_present = "repository")]
    models: Vec<String>,
    /// A model repository in Triton's layout to serve instead: `DIR/NAME/VERSION/model.onnx`
    #[arg(long, value_name = "DIR", env = "RIFT_REPOSITORY", conflicts_with = "models")]
    repository: Option<PathBuf>,
    /// Seconds between two looks at the repository; 0: only when a model is loaded by request
    #[arg(long, value_name = "SECONDS", env = "RIFT_REPOSITORY_POLL", default_value = "15")]
    repository_poll: u32,
    /// Open models without the screen: they are your own
    #[arg(long, env = "RIFT_TRUST_MODELS",
          value_parser = clap::builder::FalseyValueParser::new(), conflicts_with = "screen")]
    trust_models: bool,
    /// Serve only bundles whose `model.sig` holds under this public key: ECDSA on P-256, in PEM
    #[arg(long, value_name = "KEY", env = "RIFT_REQUIRE_SIGNATURE")]
    require_signature: Option<PathBuf>,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", env = "RIFT_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where to listen for gRPC too, for instance 127.0.0.1:8001; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", env = "RIFT_GRPC_LISTEN")]
    grpc_listen: Option<SocketAddr>,
    /// Threads that compute a request together when there is no other work: sooner, for more processor time
    #[arg(long, value_name = "N", env = "RIFT_INTRA_OP_THREADS", default_value = "1",
          value_parser = up_to_1024)]
    intra_op_threads: usize,
    /// Requests that may wait for each model; further ones are answered with 429
    #[arg(long, value_name = "N", env = "RIFT_QUEUE", default_value = "256",
          value_parser = at_least_one)]
    queue: usize,
    /// Seconds in which a request must be answered; its parameter `timeout` may ask for less
    #[arg(long, value_name = "SECONDS", env = "RIFT_TIMEOUT", default_value = "30", value_parser = seconds)]
    timeout: Duration,
    /// Seconds for the requests that are under way when the server is told to end
    #[arg(long, value_name = "SECONDS", env = "RIFT_SHUTDOWN_TIMEOUT", default_value = "20", value_parser = seconds)]
    shutdown_timeout: Duration,
    /// Seconds in which a request's head, and then its body, must arrive, and in which a client must take
    /// some of what it is sent
    #[arg(long, value_name = "SECONDS", env = "RIFT_ARRIVAL_TIMEOUT", default_value = "30", value_parser = seconds)]
    arrival_timeout: Duration,
    /// Seconds in which requests are still taken, once the server has said that it is not ready
    #[arg(long, value_name = "SECONDS", env = "RIFT_DRAIN", default_value = "1", value_parser = seconds)]
    drain: Duration,
    /// Bytes of a request's body, packed and unpacked
    #[arg(long, value_name = "BYTES", env = "RIFT_MAX_BODY", default_value = "16777216",
          value_parser = at_least_one)]
    max_body: usize,
    /// Pixels of a picture
    #[arg(long, value_name = "N", env = "RIFT_MAX_PIXELS", default_value = "32000000")]
    max_pixels: u64,
    /// Connections that are open at once
    #[arg(long, value_name = "N", env = "RIFT_MAX_CONNECTIONS", default_value = "4096",
          value_parser = at_least_one)]
    max_connections: usize,
    /// Series under the names that another server's users know, besides Rift's own: triton
    #[arg(long, value_name = "SERVER", env = "RIFT_METRICS_COMPAT")]
    metrics_compat: Option<Compat>,
    /// How the log is written to standard error
    #[arg(long, value_name = "FORMAT", env = "RIFT_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Watch every image: its margin, and its stability under noise; costs four images more each
    #[arg(long, env = "RIFT_WATCH_INPUTS", value_parser = clap::builder::FalseyValueParser::new())]
    watch_inputs: bool,
    /// Let clients, the page among them, attack a picture on demand: one at a time, at low priority
    #[arg(long, env = "RIFT_ENABLE_ATTACK_DEMO",
          value_parser = clap::builder::FalseyValueParser::new())]
    enable_attack_demo: bool,
    /// The share of ordinary images that watching may call unstable; the probe images must be enough
    #[arg(long, value_name = "SHARE", env = "RIFT_WATCH_FALSE_ALARMS", default_value = "0.05",
          value_parser = share)]
    watch_false_alarms: f64,
    /// The collector of OpenTelemetry that gets traces by OTLP over gRPC, for instance
    /// `http://127.0.0.1:4317`; variables such as `OTEL_TRACES_SAMPLER` say which
    #[cfg(feature = "otel")]
    #[arg(long, value_name = "URL", env = "RIFT_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    #[command(flatten)]
    gate: GateArgs,
    #[command(flatten)]
    entrance: EntranceArgs,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    spread: Spread,
}

/// A share that is neither nothing nor all.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("expected a share between 0 and 1".to_owned()),
    }
}

/// Who may come in.
#[derive(Debug, Args)]
struct EntranceArgs {
    /// Listen to other machines too; a token or a client's certificate is asked for then
    #[arg(long, env = "RIFT_ALLOW_REMOTE", value_parser = clap::builder::FalseyValueParser::new())]
    allow_remote: bool,
    /// Let everybody in
    #[arg(long, env = "RIFT_INSECURE", value_parser = clap::builder::FalseyValueParser::new())]
    insecure: bool,
    /// A file of bearer tokens, one a line; read again when it changes
    #[arg(long, value_name = "PATH", env = "RIFT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The server's certificate and those between it and its authority, in PEM; read again when it
    /// changes
    #[arg(long, value_name = "PATH", env = "RIFT_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "PATH", env = "RIFT_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authorities that have signed the clients' certificates, in PEM; others are not let in
    #[arg(long, value_name = "PATH", env = "RIFT_TLS_CLIENT_CA", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

/// A server whose names of series are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// NVIDIA Triton.
    Triton,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines to be read.
    Text,
    /// A JSON object a line.
    Json,
}

impl EntranceArgs {
    fn entrance(&self) -> Entrance {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        Entrance {
            allow_remote: self.allow_remote,
            insecure: self.insecure,
            token_file: self.token_file.clone(),
            tls: files.map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_authority: self.tls_client_ca.clone(),
            }),
        }
    }
}

/// Answers requests until a signal ends it.
pub(crate) fn run(
    args: &ServeArgs,
    global: &Global,
    out: &mut dyn Write,
) -> anyhow::Result<Answer> {
    let sources = sources(&args.models)?;
    let engine = args.engine.engine()?;
    library::load_for(global.onnxruntime.as_deref(), engine.provider())?;
    let opening = Opening { reading: args.reading.reading(false), engine, ..Opening::default() };
    let options = args.spread.options();
    let watching = Watching { always: args.watch_inputs, false_alarms: args.watch_false_alarms };
    let (threads, batch, together) = (options.threads, options.batch, args.intra_op_threads);
    ensure!(
        together == 1 || engine.provider() == Provider::Cpu,
        "provider `{}` chooses its threads itself, expected `cpu` for --intra-op-threads",
        engine.provider()
    );
    let serving = Serving { threads, batch, together, queue: args.queue, watching };
    let metrics = Metrics::new(args.metrics_compat == Some(Compat::Triton));
    let mut registry = Registry::new(serving, opening).with_metrics(metrics);
    if !args.trust_models {
        registry = registry.with_screen(Screen::new(screen::Limits::default()));
    }
    if let Some(key) = &args.require_signature {
        registry = registry.with_signatory(Signatory::new(PublicKey::read(key)?));
    }
    let gate = args.gate.gate(options)?;
    if let Some(gate) = &gate {
        registry = registry.with_gate(gate);
    }
    allow_many_files();
    let app = App::new(registry, repository(args)?, limits(args));
    #[cfg(feature = "otel")]
    let traces = args.otlp_endpoint.as_deref().map(Traces::to).transpose()?;
    let server = listen(args, &app, out)?;
    #[cfg(feature = "otel")]
    let server = server.with_traces(traces.as_ref());
    let wishes: Vec<_> = sources.iter().map(|source| app.registry.announce(source)).collect();
    let (loading, every) = (Arc::clone(&app), args.repository_poll);
    let loader = std::thread::spawn(move || {
        for (source, wish) in sources.iter().zip(wishes) {
            // The registry says why not, and so does the server's readiness.
            let _ = loading.registry.fulfil(source, wish);
        }
        watch(&loading, Duration::from_secs(every.into()));
    });
    let repetition = gate.zip(args.gate.every).map(|(gate, every)| {
        Repetition::start(gate, Arc::clone(&app), every).context("cannot repeat the audit")
    });
    let repetition = repetition.transpose()?;
    let served = server.run(ended());
    #[cfg(feature = "otel")]
    if let Some(traces) = traces {
        traces.end(args.drain);
    }
    served?;
    if repetition.is_some_and(|repetition| repetition.end().is_err()) {
        bail!("the repeated audit has panicked");
    }
    // A model that is still being opened is of no use any more.
    if loader.is_finished() && loader.join().is_err() {
        bail!("loading the models has panicked");
    }
    Ok(Answer::Yes)
}

/// Listens where that is asked for, and says where.
fn listen(args: &ServeArgs, app: &Arc<App>, out: &mut dyn Write) -> anyhow::Result<Server> {
    let entrance = args.entrance.entrance();
    let mut server = Server::bind(args.listen, &entrance, Arc::clone(app))?;
    if let Some(address) = args.grpc_listen {
        server = server.with_grpc(address, &entrance)?;
    }
    let scheme = if args.entrance.tls_cert.is_some() { "https" } else { "http" };
    writeln!(out, "listening on {scheme}://{}", server.address())?;
    if let Some(address) = server.grpc_address() {
        writeln!(out, "listening for gRPC on {address}")?;
    }
    out.flush()?;
    Ok(server)
}

/// As many open connections as the system allows: its first word is often 1,024 files, which is meant
/// for programs that cannot count further.
#[cfg(unix)]
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}

#[cfg(not(unix))]
fn allow_many_files() {}

fn repository(args: &ServeArgs) -> anyhow::Result<Option<Repository>> {
    let Some(folder) = &args.repository else { return Ok(None) };
    let path = folder.display();
    ensure!(folder.is_dir(), "cannot open the model repository `{path}`, expected a folder");
    Ok(Some(Repository::new(folder)))
}

/// Follows the repository, if there is one, until the server ends.
fn watch(app: &App, every: Duration) {
    let mut failed = false;
    loop {
        let looked = app.poll();
        if let Err(error) = &looked
            && !failed
        {
            tracing::error!("the model repository cannot be read, serving on: {error}");
        }
        failed = looked.is_err();
        let begun = Instant::now();
        while every.is_zero() || begun.elapsed() < every {
            if app.is_ending() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn limits(args: &ServeArgs) -> Limits {
    Limits {
        body: args.max_body,
        pixels: args.max_pixels,
        connections: args.max_connections,
        attacks: usize::from(args.enable_attack_demo),
        arrival: args.arrival_timeout,
        answer: args.timeout,
        drain: args.drain,
        shutdown: args.shutdown_timeout,
        ..Limits::default()
    }
}

/// What is to be served, under different names.
fn sources(models: &[String]) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for model in models {
        let (name, path) = match model.split_once('=') {
            Some((name, path)) if !name.contains('/') => (name.to_owned(), path),
            _ => (name_of(zoo::name(model).unwrap_or(model).as_ref()), model.as_str()),
        };
        let path = zoo::locate(path.into())?;
        ensure!(!name.is_empty(), "`{model}` has no name, expected `PATH` or `NAME=PATH`");
        let exists = path.exists();
        ensure!(
            exists,
            "cannot open model `{}`, expected a bundle folder or an `.onnx` file",
            path.display()
        );
        if let Some(other) = sources.iter().find(|source| source.name == name) {
            let (one, other) = (path.display(), other.path.display());
            bail!("`{one}` and `{other}` are both called `{name}`, expected `NAME=PATH`");
        }
        sources.push(Source { name, version: 1, path });
    }
    Ok(sources)
}

/// Ends with SIGINT or SIGTERM; a second one ends the process.
async fn ended() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals cannot be received");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("shutting down");
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => std::process::exit(130),
            _ = terminate.recv() => std::process::exit(143),
        }
    });
}
