//! The server, over loopback.

mod client;
mod protocol;
mod repository;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use client::Client;
use serde_json::Value;

use crate::Place;

/// A server that runs until it is dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: SocketAddr,
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
        let all = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut command: Command = place.command(&all);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().parse();
        Self { child, address: address.unwrap() }
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

    /// Sends a signal and waits for the end; the exit status.
    pub(crate) fn end(mut self, signal: &str) -> i32 {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
