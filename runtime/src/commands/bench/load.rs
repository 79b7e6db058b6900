//! A closed loop: clients that each ask a server again as soon as they have its answer.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use tokio::sync::Barrier;

use super::latency::{Latency, Times};
use super::server::{Asked, Connection, Input, Server, Tensors};
use super::{BenchArgs, or, write_json};

#[derive(Serialize)]
struct Report {
    url: String,
    model: String,
    input: Input,
    tensors: Tensors,
    runs: Vec<Run>,
}

#[derive(Serialize)]
struct Run {
    clients: usize,
    batch_size: usize,
    seconds: f64,
    /// Of requests that were answered with 200.
    latency: Latency,
    requests_per_second: f64,
    images_per_second: f64,
    statuses: BTreeMap<u16, u64>,
    /// Requests whose connection ended without an answer.
    broken: u64,
}

/// What one client has seen.
#[derive(Debug, Default)]
struct Seen {
    times: Vec<Duration>,
    statuses: BTreeMap<u16, u64>,
    broken: u64,
    seconds: f64,
}

/// Measures the server and says what was found.
pub(super) fn run(args: &BenchArgs, url: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let load = &args.load;
    let server = Arc::new(Server::new(url, load.token_file.as_deref())?);
    // One thread is enough for the clients, and leaves the cores to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let subject = runtime.block_on(server.subject(load.name.as_deref(), load.tensors))?;
    let how = match subject.tensors {
        Tensors::Binary => "binary tensors",
        Tensors::Json => "tensors in JSON",
    };
    let Input { datatype, shape, .. } = &subject.input;
    writeln!(out, "{url}: model {}, {datatype} {shape:?}, {how}\n\n{HEAD}", subject.model)?;
    let mut runs = Vec::new();
    for clients in or(&load.clients, &[1, 32]) {
        for batch in or(&args.batch_size, &[1]) {
            let asked = Arc::new(subject.asked(batch)?);
            let duration = load.duration.unwrap_or(Duration::from_secs(10));
            let seen = runtime.block_on(all(&server, &asked, clients, duration))?;
            let run = sum(seen, clients, batch)?;
            writeln!(out, "{}", row(&run))?;
            out.flush()?;
            runs.push(run);
        }
    }
    let (model, input, tensors) = (subject.model, subject.input, subject.tensors);
    let report = Report { url: url.to_owned(), model, input, tensors, runs };
    write_json(args.json.as_deref(), &report)
}

/// So many clients at once.
async fn all(
    server: &Arc<Server>,
    asked: &Arc<Asked>,
    clients: usize,
    duration: Duration,
) -> anyhow::Result<Vec<Seen>> {
    let together = Arc::new(Barrier::new(clients));
    let client = |_| {
        let (server, asked) = (Arc::clone(server), Arc::clone(asked));
        tokio::spawn(client(server, asked, Arc::clone(&together), duration))
    };
    let tasks: Vec<_> = (0..clients).map(client).collect();
    let mut seen = Vec::with_capacity(clients);
    for task in tasks {
        seen.push(task.await.context("a client has panicked")??);
    }
    Ok(seen)
}

async fn client(
    server: Arc<Server>,
    asked: Arc<Asked>,
    together: Arc<Barrier>,
    duration: Duration,
) -> anyhow::Result<Seen> {
    let first = greet(&server, &asked).await;
    // Also who cannot begin: the others wait.
    together.wait().await;
    let mut connection = first?;
    let (mut seen, begun) = (Seen::default(), Instant::now());
    while begun.elapsed() < duration {
        if connection.ready().await.is_err() {
            connection = server.connect().await?;
            continue;
        }
        let started = Instant::now();
        match server.ask(&mut connection, &asked).await {
            Ok((status, _)) => {
                *seen.statuses.entry(status.as_u16()).or_default() += 1;
                if status.is_success() {
                    seen.times.push(started.elapsed());
                }
            }
            Err(_) => seen.broken += 1,
        }
    }
    seen.seconds = begun.elapsed().as_secs_f64();
    Ok(seen)
}

/// A connection on which one request has been answered, which is not measured.
async fn greet(server: &Server, asked: &Asked) -> anyhow::Result<Connection> {
    let mut connection = server.connect().await?;
    server.ask(&mut connection, asked).await.context("the first request is not answered")?;
    Ok(connection)
}

fn sum(all: Vec<Seen>, clients: usize, batch_size: usize) -> anyhow::Result<Run> {
    let mut times = Times::new()?;
    let (mut statuses, mut broken, mut seconds) = (BTreeMap::new(), 0, 0.0_f64);
    for seen in all {
        for time in seen.times {
            times.record(time);
        }
        for (status, count) in seen.statuses {
            *statuses.entry(status).or_default() += count;
        }
        broken += seen.broken;
        seconds = seconds.max(seen.seconds);
    }
    let latency = times.latency();
    if latency.count == 0 {
        bail!("no request was answered with 200: {}", described(&statuses, broken));
    }
    let requests_per_second = latency.count as f64 / seconds;
    Ok(Run {
        clients,
        batch_size,
        seconds,
        latency,
        requests_per_second,
        images_per_second: requests_per_second * batch_size as f64,
        statuses,
        broken,
    })
}

const HEAD: &str = concat!(
    "                                         milliseconds a request\n",
    "clients batch  requests/s   images/s      p50      p95      p99      max  statuses"
);

fn row(run: &Run) -> String {
    let Latency { p50, p95, p99, max, .. } = run.latency;
    format!(
        "{:>7} {:>5} {:>11.1} {:>10.1} {p50:>8.3} {p95:>8.3} {p99:>8.3} {max:>8.3}  {}",
        run.clients,
        run.batch_size,
        run.requests_per_second,
        run.images_per_second,
        described(&run.statuses, run.broken),
    )
}

fn described(statuses: &BTreeMap<u16, u64>, broken: u64) -> String {
    let status = |(status, count): (&u16, &u64)| format!("{count} × {status}");
    let mut all: Vec<String> = statuses.iter().map(status).collect();
    if broken > 0 {
        all.push(format!("{broken} broken off"));
    }
    all.join(", ")
}
