//! The server, over loopback.

mod admission;
mod bench;
mod browser;
pub(crate) mod client;
mod door;
mod faults;
mod gate;
mod grpc;
mod manager;
mod operation;
mod page;
mod page_in_browser;
mod pictures;
pub(crate) mod protocol;
mod reload;
mod repository;
mod signature;
mod soak;
mod tls;
#[cfg(feature = "otel")]
mod traces;
mod watch;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::Client;
use serde_json::Value;

use crate::Place;
use crate::screening::memory;

/// A server that runs until it is dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where it listens for gRPC, if it does.
    grpc: Option<SocketAddr>,
}

impl Serving {
    /// Serves `m.onnx` in `place` and waits until it is ready.
    pub(crate) fn of(place: &Place, more: &[&str]) -> Self {
        let serving = Self::start(place, &[&["m.onnx"], more].concat());
        serving.until_ready();
        serving
    }

    /// Serves with these arguments, ready or not.
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::start_logging(place, arguments, "info")
    }

    /// As [`start`](Self::start), with a log of this level in the file `log`.
    pub(crate) fn start_logging(place: &Place, arguments: &[&str], level: &str) -> Self {
        let mut command = place.command(&[&["serve"], arguments].concat());
        command.env("RIFT_LOG", level);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        Self::run(place, command)
    }

    /// Runs a command that serves.
    fn run(place: &Place, mut command: Command) -> Self {
        Self::spawn(&mut command, File::create(place.path("log")).unwrap())
    }

    /// Starts what becomes a server and logs to `log`.
    pub(crate) fn spawn(command: &mut Command, log: File) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address: SocketAddr = line.trim().rsplit('/').next().unwrap().parse().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let grpc = command.get_args().any(|argument| argument == "--grpc-listen").then(|| {
            line.clear();
            lines.read_line(&mut line).unwrap();
            let address: SocketAddr = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
            SocketAddr::from(([127, 0, 0, 1], address.port()))
        });
        Self { child, address, grpc }
    }

    pub(crate) fn until_ready(&self) {
        let mut client = self.client();
        while client.get("/v2/health/ready").status != 200 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let reply = self.client().get(path);
        assert_eq!(reply.status, 200, "{path}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// The sum of a series over all of its labels.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let reply = self.client().get("/metrics");
        let text = String::from_utf8(reply.body).unwrap();
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        text.lines().filter(|line| line.starts_with(series)).map(value).sum()
    }

    /// Waits until a series has this value.
    pub(crate) fn until(&self, series: &str, value: f64) {
        while self.metric(series) != value {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What the system says of the server's memory, in bytes: `VmRSS:` is resident now, `VmHWM:` the
    /// most that was.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        memory(&self.child.id().to_string(), line)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Sends a signal and waits for the end; the exit status.
    pub(crate) fn end(self, signal: &str) -> i32 {
        self.signal(signal);
        self.ended()
    }

    /// Waits for the end; the exit status.
    pub(crate) fn ended(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
